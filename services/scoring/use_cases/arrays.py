"""Arrays of ids and days as parameters. psycopg writes a list of UUIDs ten times as slowly as its text."""

from collections.abc import Iterable
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, cast, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Uuid


def uuid_array(ids: Iterable[UUID]) -> str:
    """For `cast(:ids as uuid[])`."""
    return "{" + ",".join([one.hex for one in ids]) + "}"


def date_array(days: Iterable[date | None]) -> str:
    """For `cast(:days as date[])`."""
    return "{" + ",".join(["null" if day is None else day.isoformat() for day in days]) + "}"


def is_among(column: Any, ids: Iterable[UUID]) -> ColumnElement[bool]:
    """Whether a column of ids holds one of these. The text is read once; `= any()` would read it for every row."""
    among: ColumnElement[bool] = column.in_(select(func.unnest(cast(literal(uuid_array(ids)), ARRAY(Uuid)))))
    return among
