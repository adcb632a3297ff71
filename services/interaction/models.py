"""Tables of the interaction service. They hold ids and facts, and no free text: nothing personal.

`occurred_at` and the like are when it happened; `recorded_at` is when it was written here. Facts may arrive
before their customer's scope does, so nothing refers to `customer_scope`; until it comes nobody sees them.
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Computed, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import DateTime

from shared.database import service_metadata

EARLIEST = "1900-01-01 00:00:00+00"
LATEST = "9999-12-31 00:00:00+00"


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = {int: BigInteger, str: Text, datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's


class TimelineEntry(Base):
    """What happened around a customer, of every kind. What cannot be shown as an instant is refused here for all."""

    __tablename__ = "timeline_entry"
    __table_args__ = (
        Index("ix_timeline_entry_customer_id", "customer_id", "occurred_at", "entry_id"),
        CheckConstraint(f"occurred_at >= '{EARLIEST}' and occurred_at < '{LATEST}'", name="occurred_at_is_readable"),
    )

    entry_id: Mapped[UUID] = mapped_column(primary_key=True, comment="derived from what it tells of")
    customer_id: Mapped[UUID]
    kind: Mapped[str]
    occurred_at: Mapped[datetime]
    subject_id: Mapped[UUID | None] = mapped_column(comment="of what its kind names")
    alert_id: Mapped[UUID | None]
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB, comment="what its sentence is made of")
    recorded_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Coverage(Base):
    """When each customer was last in contact; a row for every customer, contacted or not."""

    __tablename__ = "coverage"
    __table_args__ = (Index("ix_coverage_waiting_since", "waiting_since", "customer_id"),)

    customer_id: Mapped[UUID] = mapped_column(primary_key=True)
    last_contacted_at: Mapped[datetime | None]
    waiting_since: Mapped[datetime] = mapped_column(
        Computed(f"coalesce(last_contacted_at, '{EARLIEST}'::timestamptz)", persisted=True),
        comment="to sort by: who was never contacted comes first",
    )


class Contact(Base):
    __tablename__ = "contact"

    contact_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    channel: Mapped[str]
    occurred_at: Mapped[datetime]
    manager_id: Mapped[str | None]
    alert_id: Mapped[UUID | None]
    by_customer: Mapped[bool]
    recorded_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Complaint(Base):
    """A complaint at its greatest revision; it is open until `resolved_at`."""

    __tablename__ = "complaint"
    __table_args__ = (Index("ix_complaint_customer_id", "customer_id", "opened_at", "complaint_id"),)

    complaint_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    revision: Mapped[int]
    opened_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    recorded_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Survey(Base):
    __tablename__ = "survey"

    survey_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    answered_at: Mapped[datetime]
    score: Mapped[int]
    recorded_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Account(Base):
    """An account at its greatest revision, as far as the timeline tells of it. Its holder may change."""

    __tablename__ = "account"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    revision: Mapped[int]
    kind: Mapped[str]
    currency: Mapped[str]
    opened_on: Mapped[date]
    closed_on: Mapped[date | None]


class Alert(Base):
    """A churn alert as scoring told of it last; notification's word of it may come first."""

    __tablename__ = "alert"

    alert_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    raised_on: Mapped[date | None]
    closed_at: Mapped[datetime | None]
    closure: Mapped[str | None]


class RetentionOutcome(Base):
    """How a manager's effort ended; the first one recorded of an alert stays."""

    __tablename__ = "retention_outcome"

    outcome_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    alert_id: Mapped[UUID] = mapped_column(ForeignKey("alert.alert_id"), unique=True)
    outcome: Mapped[str]
    recorded_by: Mapped[str]
    recorded_at: Mapped[datetime]
