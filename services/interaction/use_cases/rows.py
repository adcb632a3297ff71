"""Many rows in one statement."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert

from services.interaction.models import Base


def insert_rows(table: type[Base], rows: Sequence[dict[str, Any]], *, key: str) -> Insert:
    """An insert of all rows, in the order of `key` so that two batches lock in one order.

    The rows travel as one array a column: 20,000 rows are one statement and not 20,000.
    """
    columns = [table.__table__.c[name] for name in rows[0]]
    ordered = sorted(rows, key=lambda row: row[key])
    arrays = [bindparam(None, [row[c.name] for row in ordered], type_=ARRAY(c.type)) for c in columns]
    unnested = (
        func.unnest(*arrays).table_valued(*(column(c.name, c.type) for c in columns)).render_derived(name="given")
    )
    return insert(table).from_select([c.name for c in columns], select(*unnested.c))
