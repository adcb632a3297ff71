"""Tables of the notification service: who is to be told, of what, where it lies and by which channel it went."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import DateTime

from shared.database import service_metadata
from shared.events.scoring import AlertClosure

__all__ = [
    "Alert",
    "AlertClosure",
    "AlertState",
    "Base",
    "Channel",
    "Delivery",
    "DeliveryState",
    "Inbox",
    "InboxItem",
    "Webhook",
]


class Channel(StrEnum):
    INBOX = "inbox"
    EMAIL = "email"
    WEBHOOK = "webhook"


class AlertState(StrEnum):
    UNRESOLVED = "unresolved"
    """Nobody who could be told is known yet."""
    DELIVERED = "delivered"
    HISTORIC = "historic"
    """Found in a history that was being loaded: nobody is told."""
    CLOSED = "closed"


class ItemState(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    CLOSED = "closed"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = {int: BigInteger, str: Text, datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's


class Recipient(Base):
    """A member of staff who can be told, as the customer service stated last."""

    __tablename__ = "recipient"
    __table_args__ = (
        Index("ix_recipient_branch_id", "branch_id", postgresql_where=text("is_branch_head and is_active")),
    )

    staff_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    branch_id: Mapped[str]
    email: Mapped[str] = mapped_column(comment="a work address")
    is_branch_head: Mapped[bool]
    is_active: Mapped[bool]


class Alert(Base):
    """A churn alert of the scoring service, from whichever of its two events came first."""

    __tablename__ = "alert"
    __table_args__ = (
        Index(
            "ix_alert_open_customer_id",
            "customer_id",
            postgresql_where=text("state in ('unresolved', 'delivered')"),
        ),
    )

    alert_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    state: Mapped[str]
    raised_on: Mapped[date | None] = mapped_column(comment="null while only its end is known")
    points: Mapped[int | None]
    reasons: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    closed_at: Mapped[datetime | None]
    closure: Mapped[str | None]


class Inbox(Base):
    """One member of staff's inbox. Locking its row gives changes numbers in the order in which they commit."""

    __tablename__ = "inbox"

    staff_id: Mapped[str] = mapped_column(primary_key=True)
    last_sequence: Mapped[int]


class InboxItem(Base):
    """An alert in somebody's inbox. `sequence` is the number of its latest change in that inbox, and its ETag."""

    __tablename__ = "inbox_item"
    __table_args__ = (
        UniqueConstraint("alert_id", "staff_id"),
        UniqueConstraint("staff_id", "sequence"),
        Index("ix_inbox_item_staff_id_created_at_item_id", "staff_id", "created_at", "item_id"),
        Index("ix_inbox_item_snoozed_until", "snoozed_until", postgresql_where=text("state = 'snoozed'")),
    )

    item_id: Mapped[UUID] = mapped_column(primary_key=True)
    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alert.alert_id"))
    customer_id: Mapped[UUID]
    staff_id: Mapped[str]
    state: Mapped[str]
    sequence: Mapped[int]
    created_at: Mapped[datetime]
    acknowledged_at: Mapped[datetime | None]
    snoozed_until: Mapped[datetime | None]


class Delivery(Base):
    """An alert on its way to somebody by one channel."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("alert_id", "staff_id", "channel"),
        Index(
            "ix_delivery_channel_due_at",
            *("channel", "due_at", "delivery_id"),
            postgresql_where=text("state = 'pending'"),
        ),
    )

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alert.alert_id"))
    customer_id: Mapped[UUID]
    staff_id: Mapped[str]
    channel: Mapped[str]
    state: Mapped[str]
    attempts: Mapped[int]
    due_at: Mapped[datetime] = mapped_column(comment="when it is tried next; while it is tried, the end of the lease")
    code: Mapped[str | None] = mapped_column(comment="why the last attempt, or all of it, came to nothing")
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]


class Webhook(Base):
    """Where a member of staff has alerts sent, and what signs them. Once removed the row stays, with its version."""

    __tablename__ = "webhook"

    staff_id: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(comment="its ETag")
    sealed: Mapped[bytes | None] = mapped_column(comment="address and secret; null once removed")
    set_at: Mapped[datetime | None]
    switched_off_at: Mapped[datetime | None] = mapped_column(comment="the receiver wanted no more of them")
    code: Mapped[str | None] = mapped_column(comment="why it was switched off")
