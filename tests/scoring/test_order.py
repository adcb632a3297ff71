"""Aggregates, scores and alerts are a function of the events, not of their batches and their order."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, given, settings

from shared.events import Event
from shared.events.corebanking import AccountKind, ComplaintOutcome, TransactionKind
from shared.events.customer import DayClosed
from shared.events.interaction import Outcome, RetentionOutcomeRecorded
from shared.ids import derived_id, new_id
from tests.harness import PARTITIONS, ServiceUnderTest
from tests.scoring.bank import (
    CLOSES,
    TODAY,
    account_changed,
    complaint,
    contact,
    customer_changed,
    death_in_household,
    in_batches,
    noon,
    posted,
    survey,
    transaction,
)
from tests.scoring.conftest import ScoringOn

CUSTOMERS = [new_id() for _ in range(3)]
ACCOUNTS = {customer: [derived_id(customer, f"account {n}") for n in range(2)] for customer in CUSTOMERS}
FIRST = TODAY - timedelta(days=150)

days = st.integers(0, 150).map(lambda n: FIRST + timedelta(days=n))
customers = st.sampled_from(CUSTOMERS)


@st.composite
def some_transactions(draw: st.DrawFn) -> Event:
    customer = draw(customers)
    first = draw(days)
    return posted(
        customer,
        *(
            transaction(
                draw(st.sampled_from(ACCOUNTS[customer])),
                min(first + timedelta(days=draw(st.integers(0, 3))), TODAY),
                draw(st.integers(-2_000_00, 2_000_00)),
                kind=draw(st.sampled_from(list(TransactionKind))),
                sequence=draw(st.integers(0, 2)),
                balance_after_minor=draw(st.none() | st.integers(-100_00, 5_000_00)),
                is_external=draw(st.booleans()),
                is_reversal=draw(st.booleans()),
            )
            for _ in range(draw(st.integers(1, 4)))
        ),
    )


@st.composite
def a_habit(draw: st.DrawFn) -> Event:
    """A salary or card payments for some months, and then no more."""
    customer = draw(customers)
    last, every, kind = draw(days), *draw(st.sampled_from([(30, "salary"), (3, "card_payment")]))
    account = ACCOUNTS[customer][0]
    amount = 3_000_00 if kind == "salary" else -20_00
    habit = [last - timedelta(days=every * n) for n in range(6 if kind == "salary" else 20)]
    return posted(customer, *(transaction(account, day, amount, kind=TransactionKind(kind)) for day in habit))


@st.composite
def revisions(draw: st.DrawFn) -> list[Event]:
    """A thing with several revisions."""
    customer, thing, opened = draw(customers), new_id(), draw(days)
    later = [opened + timedelta(days=draw(st.integers(0, 40))) for _ in range(2)]
    match draw(st.sampled_from(["account", "complaint", "departure"])):
        case "account":
            kind = draw(st.sampled_from([AccountKind.CURRENT, AccountKind.TERM_DEPOSIT, AccountKind.LOAN]))
            known = draw(st.sampled_from([thing, *ACCOUNTS[customer]]))
            return [
                account_changed(customer, known, revision=1, kind=kind, opened_on=opened, matures_on=later[0]),
                account_changed(customer, known, revision=2, kind=kind, opened_on=opened, closed_on=later[1]),
            ]
        case "complaint":
            outcomes = [draw(st.sampled_from(list(ComplaintOutcome))) for _ in later]
            return [
                complaint(customer, opened, complaint_id=thing),
                complaint(customer, opened, later[0], outcomes[0], complaint_id=thing, revision=2),
                complaint(customer, opened, later[1], outcomes[1], complaint_id=thing, revision=3),
            ]
        case _:
            left = draw(st.sampled_from([None, later[1]]))
            return [customer_changed(customer, revision=1), customer_changed(customer, revision=2, left_on=left)]


def each_with_revisions_of_its_own(things: list[list[Any]]) -> list[Event]:
    """No two states of one thing have the same revision."""
    return [
        msgspec.structs.replace(event, revision=event.revision + 10 * n)
        for n, thing in enumerate(things)
        for event in thing
    ]


@st.composite
def outcome_of_an_alert(draw: st.DrawFn) -> Event:
    """Of an alert that may or may not come to be."""
    customer, raised = draw(customers), draw(days)
    return RetentionOutcomeRecorded(
        customer_id=customer,
        outcome_id=new_id(),
        alert_id=derived_id(customer, f"churn alert of {raised}"),
        outcome=Outcome.SAVED,
        recorded_by="M1",
        recorded_at=noon(raised + timedelta(days=draw(st.integers(0, 20)))),
    )


facts = st.one_of(
    st.builds(contact, customers, days),
    st.builds(survey, customers, days, st.sampled_from([0, 1, 5, 9])),
    st.builds(death_in_household, customers, days),
)
bank_events = st.tuples(
    st.lists(some_transactions(), max_size=8),
    st.lists(a_habit(), max_size=4),
    st.lists(facts, max_size=8),
    st.lists(outcome_of_an_alert(), max_size=3),
    st.lists(revisions(), max_size=5).map(each_with_revisions_of_its_own),
).map(lambda parts: [event for part in parts for event in part])

TABLES = {
    "aggregates": "select * from daily_aggregate order by customer_id, account_id, booked_on",
    "changes": "select customer_id, scored_on, points, band, reasons from score_change order by customer_id, scored_on",
    "scores": "select customer_id, points, band, reasons, since from customer_score order by customer_id",
}
ALERTS = (
    "select customer_id, alert_id, raised_on, points, reasons, is_historic, closed_on, closed_at, closure"
    " from churn_alert order by customer_id, raised_on"
)


async def state(scoring: ServiceUnderTest, *more: str) -> list[list[tuple[Any, ...]]]:
    return [await scoring.rows(query) for query in (*TABLES.values(), *more)]


Told = tuple[UUID, Event]


async def deliver(scoring: ServiceUnderTest, told: Sequence[Told]) -> None:
    """A closed day goes to every partition, under an id for each."""
    events = [(event_id, event) for event_id, event in told if not isinstance(event, DayClosed)]
    await scoring.deliver([event for _, event in events], ids=[event_id for event_id, _ in events])
    for event_id, event in told:
        if isinstance(event, DayClosed):
            for partition in range(PARTITIONS):
                for close in CLOSES:
                    closed, step = close(business_date=event.business_date), f"{close.TYPE} {partition}"
                    await scoring.deliver([closed], ids=[derived_id(event_id, step)], partition=partition)


async def score_the_rest(scoring: ServiceUnderTest) -> None:
    for job in scoring.service.jobs:
        await job.run(scoring.database)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(bank_events, st.lists(days, min_size=1, max_size=6), st.integers(0, 2**32))
async def test_any_order_and_batching_give_the_same_state(
    scoring_on: ScoringOn, events: list[Event], closed: list[date], seed: int
) -> None:
    told: list[Told] = [(new_id(), event) for event in [*events, *(DayClosed(business_date=day) for day in closed)]]
    dice = random.Random(seed)
    shuffled = dice.sample(told, len(told))
    sizes = [dice.randint(1, 5) for _ in range(6)]
    long_after = TODAY + timedelta(days=400)

    async with scoring_on(long_after) as at_once:
        await deliver(at_once, told)
        await score_the_rest(at_once)
        expected = await state(at_once, ALERTS)
    async with scoring_on(long_after) as in_pieces:
        for batch in in_batches(shuffled, sizes):
            await deliver(in_pieces, batch)
            if dice.random() < 0.5:
                await score_the_rest(in_pieces)
        await score_the_rest(in_pieces)
        assert await state(in_pieces, ALERTS) == expected
    async with scoring_on(TODAY) as as_news:
        for batch in in_batches(shuffled, sizes):
            await deliver(as_news, batch)
        await score_the_rest(as_news)
        assert await state(as_news) == expected[:-1]
        alerts = await as_news.rows(ALERTS)
        assert len({(row[0]) for row in alerts if row[6] is None}) == sum(row[6] is None for row in alerts)
