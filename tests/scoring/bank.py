"""What scoring hears about a small bank, and the days that it closes."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar
from uuid import UUID

import httpx

from shared.auth.principal import Principal
from shared.events import interaction
from shared.events.corebanking import AccountKind, ComplaintOutcome, ContactChannel, LifeEventKind, TransactionKind
from shared.events.customer import (
    AccountChanged,
    CustomerChanged,
    DayClosed,
    DayReported,
    LifeEventReported,
    PostedTransaction,
    TransactionsPosted,
)
from shared.events.interaction import ComplaintChanged, ContactLogged, SurveyAnswered
from shared.ids import new_id
from tests.harness import PARTITIONS, ServiceUnderTest, head_office

TODAY = date(2026, 3, 31)

T = TypeVar("T")


def noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def days_ago(days: int) -> date:
    return TODAY - timedelta(days=days)


def customer_changed(customer_id: UUID, revision: int = 1, manager_id: str = "M1", **more: Any) -> CustomerChanged:
    return CustomerChanged(
        customer_id=customer_id,
        revision=revision,
        manager_id=manager_id,
        **{"customer_number": customer_id.hex[-8:], "branch_id": "B1", "branch_path": ("BANK", "B1"), **more},
    )


def account_changed(customer_id: UUID, account_id: UUID, revision: int = 1, **more: Any) -> AccountChanged:
    return AccountChanged(
        customer_id=customer_id,
        account_id=account_id,
        revision=revision,
        **{"kind": AccountKind.CURRENT, "currency": "CNY", "opened_on": days_ago(900), **more},
    )


def transaction(account_id: UUID, booked_on: date, amount_minor: int = -500_00, **more: Any) -> PostedTransaction:
    return PostedTransaction(
        account_id=account_id,
        booked_on=booked_on,
        amount_minor=amount_minor,
        **{
            "transaction_id": new_id(),
            "sequence": 0,
            "currency": "CNY",
            "kind": TransactionKind.CARD_PAYMENT,
            **more,
        },
    )


def posted(customer_id: UUID, *transactions: PostedTransaction) -> TransactionsPosted:
    return TransactionsPosted(customer_id=customer_id, transactions=transactions)


def salaries(customer_id: UUID, account_id: UUID, last: date, times: int = 4) -> TransactionsPosted:
    """A salary every 30 days, the last one on `last`."""
    return posted(
        customer_id,
        *(
            transaction(account_id, last - timedelta(days=30 * n), 3_000_00, kind=TransactionKind.SALARY)
            for n in range(times)
        ),
    )


def complaint(
    customer_id: UUID, opened: date, resolved: date | None = None, outcome: ComplaintOutcome | None = None, **more: Any
) -> ComplaintChanged:
    return ComplaintChanged(
        customer_id=customer_id,
        opened_at=noon(opened),
        resolved_at=noon(resolved) if resolved else None,
        outcome=outcome,
        **{"complaint_id": new_id(), "revision": 1 if resolved is None else 2, **more},
    )


def rejected(customer_id: UUID, day: date) -> ComplaintChanged:
    return complaint(customer_id, day - timedelta(days=3), day, ComplaintOutcome.REJECTED)


def survey(customer_id: UUID, day: date, score: int) -> SurveyAnswered:
    return SurveyAnswered(customer_id=customer_id, survey_id=new_id(), answered_at=noon(day), score=score)


def contact(customer_id: UUID, day: date) -> ContactLogged:
    return ContactLogged(
        customer_id=customer_id, contact_id=new_id(), channel=ContactChannel.CALL, occurred_at=noon(day)
    )


def death_in_household(customer_id: UUID, day: date) -> LifeEventReported:
    return LifeEventReported(
        customer_id=customer_id,
        life_event_id=new_id(),
        kind=LifeEventKind.DEATH_IN_HOUSEHOLD,
        happened_on=day,
    )


CLOSES = (DayClosed, DayReported, interaction.DayClosed)


async def close(scoring: ServiceUnderTest, *days: date) -> None:
    """Tells every partition of every topic that the days are closed."""
    for partition in range(PARTITIONS):
        for close in CLOSES:
            await scoring.deliver([close(business_date=day) for day in days], partition=partition)


async def score_backlog(scoring: ServiceUnderTest) -> None:
    """The job, once."""
    job = next(job for job in scoring.service.jobs if job.name == "score_backlog")
    await job.run(scoring.database)


async def read(
    scoring: ServiceUnderTest, path: str, principal: Principal | None = None, status: int = 200, **params: Any
) -> Any:
    async with scoring.http(principal or head_office()) as client:
        response: httpx.Response = await client.get(path, params=params)
    assert response.status_code == status, response.text
    return response.json()


async def points_of(scoring: ServiceUnderTest, customer_id: UUID) -> int:
    return int((await read(scoring, f"/customers/{customer_id}/score"))["points"])


def codes(body: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in body["reasons"]]


def until(last: date, days: int) -> list[date]:
    """`days` days, the last of them `last`."""
    return [last - timedelta(days=n) for n in reversed(range(days))]


def in_batches(events: Sequence[T], sizes: Iterable[int]) -> Iterable[Sequence[T]]:
    at = 0
    for size in sizes:
        yield events[at : at + size]
        at += size
    yield events[at:]
