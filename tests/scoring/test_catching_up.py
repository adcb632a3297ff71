"""A bank that was away for a month closes its days at once, while the first news of today comes in."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from sqlalchemy import event, text

from shared.database import Database
from shared.events.corebanking import ComplaintOutcome
from shared.events.scoring import ChurnAlertRaised
from shared.ids import new_id
from shared.messaging.partitioning import partition_of
from tests.harness import PARTITIONS, ServiceUnderTest
from tests.scoring.bank import (
    TODAY,
    close,
    complaint,
    customer_changed,
    days_ago,
    posted,
    rejected,
    score_backlog,
    survey,
    transaction,
    until,
)


@pytest.fixture
async def customer(scoring: ServiceUnderTest) -> UUID:
    customer_id = new_id()
    await scoring.deliver([customer_changed(customer_id)])
    return customer_id


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What deliveries and jobs ask the database meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(database.jobs.sync_engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(database.jobs.sync_engine, "before_cursor_execute", note)


@pytest.mark.parametrize("is_due", [True, False])
async def test_what_is_heard_of_today_while_a_month_is_caught_up_alerts_once_that_is_done(
    scoring: ServiceUnderTest, customer: UUID, is_due: bool
) -> None:
    await close(scoring, *until(days_ago(20), 11))
    opened = days_ago(3) if is_due else TODAY
    await scoring.deliver([complaint(customer, opened, TODAY, ComplaintOutcome.REJECTED), survey(customer, TODAY, 1)])
    assert await scoring.published(ChurnAlertRaised) == []
    await close(scoring, *until(days_ago(1), 19))
    (raised,) = await scoring.published(ChurnAlertRaised)
    assert (raised.raised_on, raised.points, raised.is_historic) == (TODAY, 50, False)
    await close(scoring, TODAY)
    assert len(await scoring.published(ChurnAlertRaised)) == 1


async def test_what_is_heard_of_today_while_the_last_days_are_being_closed_alerts(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    await close(scoring, *until(days_ago(20), 11))
    partition = partition_of(str(customer).encode(), PARTITIONS)
    async with scoring.database.transaction() as closing:
        await closing.execute(text("select pg_advisory_xact_lock(hashtextextended('day marks', :p))"), {"p": partition})
        await closing.execute(text("update business_day set last_closed_on = :day"), {"day": days_ago(1)})
        hearing = asyncio.ensure_future(scoring.deliver([rejected(customer, TODAY), survey(customer, TODAY, 1)]))
        while not await scoring.rows("select from pg_locks where locktype = 'advisory' and not granted"):
            assert not hearing.done()
    await hearing
    await score_backlog(scoring)
    (raised,) = await scoring.published(ChurnAlertRaised)
    assert raised.raised_on == TODAY


async def test_a_month_that_is_closed_at_once_costs_no_more_statements_than_a_day(
    scoring: ServiceUnderTest, customer: UUID
) -> None:
    account = new_id()
    await scoring.deliver([posted(customer, *(transaction(account, day) for day in until(TODAY, 32)))])
    await close(scoring, *until(days_ago(31), 2))
    await score_backlog(scoring)
    costs = []
    for days in ([days_ago(30)], until(days_ago(0), 30)):
        with statements(scoring.database) as asked:
            await close(scoring, *days)
            await score_backlog(scoring)
        costs.append(len(asked))
    looks_for_news = PARTITIONS  # each partition has come to the present by the month, not by the day
    assert costs[1] <= costs[0] + looks_for_news, costs
