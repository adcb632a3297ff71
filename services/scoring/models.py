"""Tables of the scoring service: what is known of a customer by day, and the risk that follows from it."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import DateTime

from shared.database import service_metadata


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's
        int: BigInteger,
        str: Text,
        datetime: DateTime(timezone=True),
        list[dict[str, Any]]: JSONB,
    }


class DayMark(Base):
    """Which days one partition of one topic was told are closed: all between the two."""

    __tablename__ = "day_mark"

    partition: Mapped[int] = mapped_column(Integer, primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    first_closed_on: Mapped[date]
    last_closed_on: Mapped[date]


class BusinessDay(Base):
    """Which days are complete in a partition: those that every topic that brings a day's facts has closed."""

    __tablename__ = "business_day"

    partition: Mapped[int] = mapped_column(Integer, primary_key=True)
    first_closed_on: Mapped[date]
    last_closed_on: Mapped[date]
    moved_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Account(Base):
    """An account of a customer, as far as scoring cares. It is there from its first transaction or its first state."""

    __tablename__ = "account"
    __table_args__ = (Index("ix_account_account_id", "account_id"),)

    customer_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    currency: Mapped[str]
    revision: Mapped[int | None] = mapped_column(comment="null until its state has come")
    kind: Mapped[str | None]
    opened_on: Mapped[date | None]
    matures_on: Mapped[date | None]
    closed_on: Mapped[date | None]


class DailyAggregate(Base):
    """What one account did on one day; amounts are positive in the direction of their name.

    The balance is the one that the core stated with the greatest sequence; among equals, in the latest event.
    """

    __tablename__ = "daily_aggregate"

    customer_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    booked_on: Mapped[date] = mapped_column(primary_key=True)
    credit_minor: Mapped[int]
    credit_count: Mapped[int] = mapped_column(Integer)
    debit_minor: Mapped[int]
    debit_count: Mapped[int] = mapped_column(Integer)
    salary_minor: Mapped[int]
    salary_count: Mapped[int] = mapped_column(Integer)
    card_minor: Mapped[int]
    card_count: Mapped[int] = mapped_column(Integer)
    external_out_minor: Mapped[int]
    external_out_count: Mapped[int] = mapped_column(Integer)
    initiated_count: Mapped[int] = mapped_column(Integer)
    stated_sequence: Mapped[int] = mapped_column(comment="-1 when the core stated no balance on that day")
    stated_by: Mapped[UUID] = mapped_column(comment="the event that brought the balance")
    balance_minor: Mapped[int]


class CustomerFact(Base):
    """Something dated that happened to a customer: a contact, a complaint, a survey, a death in the household."""

    __tablename__ = "customer_fact"
    __table_args__ = (Index("ix_customer_fact_customer_id", "customer_id"),)

    fact_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    kind: Mapped[str]
    revision: Mapped[int]
    began_on: Mapped[date]
    ended_on: Mapped[date | None]
    value: Mapped[int | None] = mapped_column(SmallInteger, comment="a survey's score, or how a complaint ended")


class CustomerScore(Base):
    """The score of a customer at the last closed day, and when to look again.

    `due_on` is the first day whose score may be another than what is stored; null when no day will be.
    """

    __tablename__ = "customer_score"
    __table_args__ = (
        Index("ix_customer_score_points", "points", "customer_id"),
        Index("ix_customer_score_due_on", "partition", "due_on"),
    )

    customer_id: Mapped[UUID] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(Integer)
    due_on: Mapped[date | None]
    points: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    band: Mapped[str] = mapped_column(server_default="low")
    reasons: Mapped[list[dict[str, Any]]] = mapped_column(server_default="[]")
    since: Mapped[date | None] = mapped_column(comment="the day from which these reasons have held")
    currency: Mapped[str] = mapped_column(server_default="")
    version: Mapped[int] = mapped_column(server_default="0")
    told_band: Mapped[str] = mapped_column(server_default="low", comment="the band that was published last")


class ScoreChange(Base):
    """A day on which other reasons held than on the day before. Between two of them the score was the same."""

    __tablename__ = "score_change"

    customer_id: Mapped[UUID] = mapped_column(primary_key=True)
    scored_on: Mapped[date] = mapped_column(primary_key=True)
    points: Mapped[int] = mapped_column(SmallInteger)
    band: Mapped[str]
    reasons: Mapped[list[dict[str, Any]]]
    currency: Mapped[str]


class ChurnAlert(Base):
    """An alert that risk crossed the threshold. A customer has at most one open, and at most one of a day."""

    __tablename__ = "churn_alert"
    __table_args__ = (
        Index("uq_churn_alert_customer_id_raised_on", "customer_id", "raised_on", unique=True),
        Index("uq_churn_alert_open", "customer_id", unique=True, postgresql_where=text("closed_on is null")),
        Index("ix_churn_alert_raised_on", "raised_on", "alert_id"),
        Index("ix_churn_alert_points", "points", "alert_id"),
        CheckConstraint("(closed_on is null) = (closure is null)", name="closed_with_closure"),
    )

    alert_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID]
    raised_on: Mapped[date]
    points: Mapped[int] = mapped_column(SmallInteger)
    reasons: Mapped[list[dict[str, Any]]]
    currency: Mapped[str]
    is_historic: Mapped[bool]
    closed_on: Mapped[date | None]
    closed_at: Mapped[datetime | None]
    closure: Mapped[str | None]
    version: Mapped[int] = mapped_column(server_default="1")


class RetentionOutcome(Base):
    """How a manager's effort ended; it may be known before the alert that it is about."""

    __tablename__ = "retention_outcome"
    __table_args__ = (Index("ix_retention_outcome_customer_id", "customer_id"),)

    outcome_id: Mapped[UUID] = mapped_column(primary_key=True)
    alert_id: Mapped[UUID]
    customer_id: Mapped[UUID]
    outcome: Mapped[str]
    recorded_at: Mapped[datetime]
    recorded_on: Mapped[date]
