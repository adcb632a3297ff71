"""What only the embedded log has: its retention, and shares of a fetch."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from shared.events.customer import SurveyReported
from shared.events.interaction import Outcome, RetentionOutcomeRecorded
from shared.messaging.embedded import EmbeddedLog, EmbeddedSource
from shared.messaging.faults import OffsetOutOfRange
from shared.messaging.outbox import MOST_BYTES, EventTooLarge, publish
from shared.messaging.records import NotSent, TopicPartition
from tests.messaging.line import PARTITIONS, Line, earliest_positions, outgoing, survey
from tests.messaging.test_dead_letters import ended


def log_of(line: Line) -> EmbeddedLog:
    log = line.transport.publisher()
    assert isinstance(log, EmbeddedLog)
    return log


async def age(line: Line, numbers: range) -> None:
    """Makes the first records as old as two days."""
    async with log_of(line).engine.begin() as connection:
        await connection.execute(
            text("update record set appended_at = now() - interval '2 days' where \"offset\" = any(:offsets)"),
            {"offsets": list(numbers)},
        )


async def test_records_that_are_forgotten_before_they_were_read_stop_the_subscription(embedded: Line) -> None:
    customer = survey(0).customer_id
    await embedded.publish(*(survey(number, customer) for number in range(10)))
    await embedded.relay()
    async with embedded.consuming(batch=10):
        await embedded.until(10)
    await embedded.publish(*(survey(number, customer) for number in range(10, 20)))
    await embedded.relay()
    await age(embedded, range(12))
    await log_of(embedded).forget(timedelta(days=1))
    with pytest.raises(OffsetOutOfRange):
        async with embedded.consuming() as running:
            await ended(running)
    assert await embedded.numbers() == list(range(10)), "nothing is skipped"


async def test_what_is_forgotten_is_always_the_beginning(embedded: Line) -> None:
    """A record may be older than those before it, by the clocks of their transactions."""
    customer = survey(0).customer_id
    await embedded.send(*(outgoing(survey(number, customer)) for number in range(10)))
    await age(embedded, range(4, 5))
    await log_of(embedded).forget(timedelta(days=1))
    assert [record.offset for record in await embedded.log(SurveyReported.TOPIC)] == [5, 6, 7, 8, 9]


async def test_a_fetch_takes_no_more_than_its_limit_and_something_of_every_partition(embedded: Line) -> None:
    sent = [outgoing(survey(number))._replace(partition=0) for number in range(500)]
    sent += [outgoing(survey(number))._replace(partition=number % PARTITIONS) for number in range(20)]
    await embedded.send(*sent)
    source = EmbeddedSource(log_of(embedded))
    await source.start("test", [SurveyReported.TOPIC], earliest_positions)
    batches = await source.fetch(40, 0.1)
    await source.stop()
    assert sum(len(batch.records) for batch in batches) <= 40
    assert {batch.at.partition for batch in batches} == set(range(PARTITIONS))


async def test_a_source_sees_what_another_process_appends(embedded: Line) -> None:
    log = log_of(embedded)
    other = EmbeddedLog(log.engine.url.render_as_string(hide_password=False))
    await other.start([SurveyReported.TOPIC], PARTITIONS)
    source = EmbeddedSource(log)
    await source.start("test", [SurveyReported.TOPIC], earliest_positions)
    fetching = asyncio.ensure_future(source.fetch(10, 5))
    await asyncio.sleep(0.05)
    await other.send([outgoing(survey(1))])
    (batch,) = await fetching
    assert batch.expected == 0
    await source.stop()
    await other.close()


@pytest.mark.parametrize("where", [TopicPartition("unheard.of", 0), TopicPartition("", PARTITIONS)])
async def test_a_place_that_is_not_there_is_refused(embedded: Line, where: TopicPartition) -> None:
    record = outgoing(survey(1))._replace(topic=where.topic or SurveyReported.TOPIC, partition=where.partition)
    with pytest.raises(NotSent):
        await embedded.send(record)


async def test_an_event_that_no_log_would_take_is_refused_where_it_is_published(embedded: Line) -> None:
    """In the outbox it would stand in the way of all that follow."""
    huge = RetentionOutcomeRecorded(
        customer_id=survey(1).customer_id,
        outcome_id=survey(1).customer_id,
        alert_id=survey(1).customer_id,
        outcome=Outcome.LOST,
        recorded_by="x" * MOST_BYTES,
        recorded_at=survey(1).answered_at,
    )
    async with embedded.database.transaction() as session:
        with pytest.raises(EventTooLarge):
            publish(session, huge)
