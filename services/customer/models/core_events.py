"""What became of what the core sent."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, LargeBinary, PrimaryKeyConstraint, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.customer.models.base import Base


class ReceivedEvent(Base):
    """What became of each event of the core: `applied`, `held`, `parked` or `duplicate`.

    Of a transaction whose posting `is_receipt` there is no row here.
    """

    __tablename__ = "received_event"
    __table_args__ = (
        Index(
            "ix_received_event_unapplied",
            "outcome",
            "received_at",
            "event_id",
            postgresql_where=text("outcome <> 'applied'"),
        ),
    )

    source: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    fingerprint: Mapped[int]
    outcome: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class KeptEvent(Base):
    """The bytes of events that are held until what they name arrives, or parked until somebody mends them."""

    __tablename__ = "kept_event"
    __table_args__ = (
        Index("ix_kept_event_waits_for", "waits_for", "source", postgresql_where=text("waits_for is not null")),
        Index("ix_kept_event_code", "code", "kept_at", postgresql_where=text("waits_for is not null")),
        Index("ix_kept_event_parked", "kept_at", postgresql_where=text("waits_for is null")),
        Index("ix_kept_event_customer_id", "customer_id", "kept_at"),
    )

    source: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[int] = mapped_column(primary_key=True)
    waits_for: Mapped[str | None] = mapped_column(comment="what a held event names, as kind:id; null when parked")
    code: Mapped[str]
    pointer: Mapped[str | None]
    detail: Mapped[str]
    customer_id: Mapped[UUID | None] = mapped_column(
        comment="whose key seals it; null is the service's, until it expires"
    )
    names: Mapped[list[str]] = mapped_column(ARRAY(Text), comment="the parties and accounts in it, as kind:id")
    sealed: Mapped[bytes] = mapped_column(LargeBinary, comment="the event as it came, in structured JSON")
    kept_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class KeptEventEdit(Base):
    """What a kept event was before an operator mended it."""

    __tablename__ = "kept_event_edit"
    __table_args__ = (
        Index("ix_kept_event_edit_event_id", "source", "event_id", "edited_at"),
        Index("ix_kept_event_edit_customer_id", "customer_id", "edited_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str]
    event_id: Mapped[str]
    customer_id: Mapped[UUID | None] = mapped_column(comment="as of kept_event")
    names: Mapped[list[str]] = mapped_column(ARRAY(Text), comment="as of kept_event")
    sealed: Mapped[bytes] = mapped_column(LargeBinary, comment="the event as it was before")
    edited_at: Mapped[datetime]
    edited_by: Mapped[str]


class HeldRelease(Base):
    """What has arrived while more events waited for it than one transaction applies: they are applied after it."""

    __tablename__ = "held_release"

    source: Mapped[str] = mapped_column(primary_key=True)
    waits_for: Mapped[str] = mapped_column(primary_key=True, comment="as in kept_event")
    due_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ReportedFact(Base):
    """What other systems of the bank reported about a customer, by the bank's own id: each counts once."""

    __tablename__ = "reported_fact"
    __table_args__ = (PrimaryKeyConstraint("source", "core_id", "kind"),)

    source: Mapped[str]
    core_id: Mapped[str]
    kind: Mapped[str]
    customer_id: Mapped[UUID]
    revision: Mapped[int]
    fingerprint: Mapped[int]
