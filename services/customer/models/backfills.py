"""How far a bank's history is loaded."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, text
from sqlalchemy.orm import Mapped, mapped_column

from services.customer.models.base import Base


class Backfill(Base):
    """How far a file of the bank's history is loaded. One that holds or is read something else is another."""

    __tablename__ = "backfill"

    backfill_id: Mapped[UUID] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(index=True)
    content: Mapped[str] = mapped_column(comment="SHA-256 of its bytes")
    reading: Mapped[str] = mapped_column(comment="how it is read, as JSON")
    position: Mapped[int] = mapped_column(comment="records that are read", server_default="0")
    applied: Mapped[int] = mapped_column(server_default="0")
    duplicate: Mapped[int] = mapped_column(server_default="0")
    held: Mapped[int] = mapped_column(comment="when they were read", server_default="0")
    parked: Mapped[int] = mapped_column(server_default="0")
    begun_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    moved_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    finished_at: Mapped[datetime | None]


class BackfillFault(Base):
    """A row of a file that is parked: where it is and why. It holds nothing of the row."""

    __tablename__ = "backfill_fault"

    backfill_id: Mapped[UUID] = mapped_column(ForeignKey("backfill.backfill_id", ondelete="cascade"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[str | None]
    code: Mapped[str]
    pointer: Mapped[str | None]
    detail: Mapped[str]
