"""Several processes at once: nobody is scored twice, and nothing that comes meanwhile is lost."""

import asyncio
from datetime import UTC, datetime, time

from services.scoring.app import rules_of
from services.scoring.settings import ScoringSettings
from services.scoring.use_cases.scoring import score_due
from shared.ids import new_id
from tests.harness import PARTITIONS, ServiceUnderTest
from tests.scoring.bank import TODAY, close, complaint, customer_changed, days_ago, points_of, survey

LONG_AFTER = datetime.combine(TODAY.replace(year=TODAY.year + 1), time(20), UTC)
RULES = rules_of(ScoringSettings(), lambda: LONG_AFTER)


async def partition_of(scoring: ServiceUnderTest) -> int:
    ((partition,),) = await scoring.rows("select distinct partition from customer_score")
    return int(partition)


async def test_what_comes_while_a_customer_is_scored_waits_and_counts(scoring: ServiceUnderTest) -> None:
    customer = new_id()
    await scoring.deliver([customer_changed(customer)])
    await close(scoring, TODAY)
    await scoring.deliver([complaint(customer, days_ago(3))])
    async with scoring.database.jobs.begin() as connection:
        await connection.exec_driver_sql("update customer_score set due_on = '2026-03-01'")
    async with scoring.database.transaction() as session:
        assert await score_due(session, await partition_of(scoring), RULES, None) == 1
        meanwhile = asyncio.ensure_future(scoring.deliver([survey(customer, days_ago(1), 5)]))
        await asyncio.sleep(0.2)
        assert not meanwhile.done()
    await meanwhile
    assert await points_of(scoring, customer) == 20


async def test_customers_whom_another_process_scores_are_left_to_it(scoring: ServiceUnderTest) -> None:
    customers = [new_id() for _ in range(2 * PARTITIONS)]
    await scoring.deliver([customer_changed(customer) for customer in customers])
    await scoring.deliver([complaint(customer, days_ago(3)) for customer in customers])
    await close(scoring, TODAY)
    async with scoring.database.jobs.begin() as connection:
        await connection.exec_driver_sql("update customer_score set due_on = '2026-03-01', partition = 0")
    async with scoring.database.transaction() as one, scoring.database.transaction() as other:
        assert await score_due(one, 0, RULES, None) == len(customers)
        assert await score_due(other, 0, RULES, None) == 0
