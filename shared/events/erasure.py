"""What every service tells of an erasure, each as an event of its own."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

import msgspec

from shared.events.base import CustomerEvent


class PurgedTable(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many rows about the customer a table had."""

    table: str
    rows: int


class Purge(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A service has destroyed its key of an erased customer and deleted its rows about them."""

    ABOUT_ERASED: ClassVar[bool] = True
    erasure_id: UUID
    purged_at: datetime
    tables: tuple[PurgedTable, ...]
