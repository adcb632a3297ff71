"""HTTP bodies of the scoring service."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Row

from services.scoring.domain.scorecard import sentence
from services.scoring.models import ChurnAlert, CustomerScore, ScoreChange
from shared.events.scoring import AlertEnding, RiskBand


class Money(BaseModel):
    amount_minor: int = Field(description="Minor units of the currency.", examples=[1_234_500])
    currency: str = Field(description="ISO 4217.", examples=["CNY"])


class ReasonRead(BaseModel):
    """A line of the scorecard that holds."""

    code: str = Field(examples=["salary_stopped"])
    points: int = Field(description="What it adds; negative when it protects.", examples=[25])
    text: str = Field(
        description="A sentence that can be said aloud.",
        examples=["No salary has arrived for 47 days; before that one came every month."],
    )


class ScoreRead(BaseModel):
    """A customer's risk of leaving, at the close of a day."""

    customer_id: UUID
    customer_number: str = Field(examples=["10004217"])
    branch_id: str = Field(examples=["B01"])
    manager_id: str | None = Field(examples=["M0107"])
    points: int = Field(description="0 to 100.", examples=[65])
    band: RiskBand
    scored_on: date | None = Field(description="The last day that the bank closed; null before the first.")
    since: date | None = Field(description="The day from which these reasons have held; null if none ever did.")
    reasons: list[ReasonRead] = Field(description="The weightiest first.")


class ScoreChangeRead(BaseModel):
    """A day on which other reasons held than on the day before; until the next one the score stayed the same."""

    scored_on: date
    points: int = Field(examples=[40])
    band: RiskBand
    reasons: list[ReasonRead]


class AlertState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class AlertRead(BaseModel):
    """Risk crossed the threshold from below on a day."""

    alert_id: UUID
    customer_id: UUID
    customer_number: str = Field(examples=["10004217"])
    branch_id: str = Field(examples=["B01"])
    manager_id: str | None = Field(examples=["M0107"])
    state: AlertState
    raised_on: date
    points: int = Field(description="On that day.", examples=[65])
    reasons: list[ReasonRead] = Field(description="On that day, the weightiest first.")
    is_historic: bool = Field(description="Found more than 7 days later, so nobody was told.")
    closed_on: date | None
    closed_at: datetime | None
    closure: AlertEnding | None = Field(description="Why it closed.")


class Flow(BaseModel):
    """Transactions of one sort: how many, and their amounts added up."""

    amount: Money
    count: int = Field(examples=[3])


class DailyAggregateRead(BaseModel):
    """What the customer's accounts of one currency did on a day. A reversal takes back, so numbers may be negative."""

    booked_on: date
    currency: str = Field(examples=["CNY"])
    credit: Flow
    debit: Flow
    salary: Flow = Field(description="Salaries and pensions, of the credits.")
    card: Flow = Field(description="Card payments and withdrawals, of the debits.")
    external_out: Flow = Field(description="Transfers to other banks, of the debits.")
    initiated_count: int = Field(description="Transactions of the customer's own doing.", examples=[4])
    closing_balance: Money = Field(description="Own money at the close of the day: no loans, no credit cards.")


def reasons_read(reasons: list[dict[str, Any]], as_of: date, currency: str) -> list[ReasonRead]:
    """Stored reasons as a manager can say them on a day."""
    return [
        ReasonRead(
            code=reason["code"],
            points=reason["points"],
            text=sentence(reason["code"], reason["figures"], as_of, currency),
        )
        for reason in reasons
    ]


def score_read(row: Row[Any]) -> ScoreRead:
    """Of a row of `portfolio.scores`."""
    score: CustomerScore = row.CustomerScore
    closed_on: date | None = row.last_closed_on
    return ScoreRead(
        customer_id=score.customer_id,
        customer_number=row.customer_number,
        branch_id=row.branch_id,
        manager_id=row.manager_id,
        points=score.points,
        band=RiskBand(score.band),
        scored_on=closed_on,
        since=score.since,
        reasons=reasons_read(score.reasons, closed_on, score.currency) if closed_on else [],
    )


def score_change_read(change: ScoreChange) -> ScoreChangeRead:
    return ScoreChangeRead(
        scored_on=change.scored_on,
        points=change.points,
        band=RiskBand(change.band),
        reasons=reasons_read(change.reasons, change.scored_on, change.currency),
    )


def alert_read(row: Row[Any]) -> AlertRead:
    """Of a row of `portfolio.alerts`."""
    alert: ChurnAlert = row.ChurnAlert
    return AlertRead(
        alert_id=alert.alert_id,
        customer_id=alert.customer_id,
        customer_number=row.customer_number,
        branch_id=row.branch_id,
        manager_id=row.manager_id,
        state=AlertState.OPEN if alert.closed_on is None else AlertState.CLOSED,
        raised_on=alert.raised_on,
        points=alert.points,
        reasons=reasons_read(alert.reasons, alert.raised_on, alert.currency),
        is_historic=alert.is_historic,
        closed_on=alert.closed_on,
        closed_at=alert.closed_at,
        closure=AlertEnding(alert.closure) if alert.closure else None,
    )


def daily_aggregate_read(row: Row[Any]) -> DailyAggregateRead:
    """Of a row of `portfolio.daily_aggregates`."""

    def money(name: str) -> Money:
        return Money(amount_minor=int(getattr(row, name)), currency=row.currency)

    def flow(name: str) -> Flow:
        return Flow(amount=money(f"{name}_minor"), count=getattr(row, f"{name}_count"))

    return DailyAggregateRead(
        booked_on=row.booked_on,
        currency=row.currency,
        credit=flow("credit"),
        debit=flow("debit"),
        salary=flow("salary"),
        card=flow("card"),
        external_out=flow("external_out"),
        initiated_count=row.initiated_count,
        closing_balance=money("closing_minor"),
    )
