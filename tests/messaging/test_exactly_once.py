"""Effects happen once: by the offset in the database, the deduplication, and the fence between two consumers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery
from shared.events.customer import SurveyReported
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import KafkaSource
from shared.messaging.positions import Fenced, LogIdentity, WrongLog, advance
from shared.messaging.records import Batch, NotSent, Outgoing, Publisher, Record, TopicPartition, read_event
from shared.messaging.source import Positions, Prepare, Source, unprepared
from shared.messaging.subscriptions import Subscriptions
from tests.messaging.line import Line, eventually, hearing, note, outgoing, sample, survey


def hearing_records(line: Line) -> Subscriptions:
    """Every record shows that is handed over: nothing here deduplicates."""

    async def note_records(session: AsyncSession, records: Sequence[Record]) -> None:
        await note(session, [read_event(record) for record in records])

    subscriptions = Subscriptions(line.group)
    subscriptions.on_records(SurveyReported.TOPIC, note_records)
    return subscriptions


async def test_what_was_committed_is_not_delivered_again_after_a_restart(line: Line) -> None:
    await line.publish(*(survey(number) for number in range(30)))
    await line.relay()
    async with line.consuming(hearing_records(line)):
        await line.until(30)
    await line.publish(*(survey(number) for number in range(30, 40)))
    await line.relay()
    async with line.consuming(hearing_records(line)):
        await line.until(40)
        await asyncio.sleep(0.3)
    assert Counter(await line.numbers()) == Counter(range(40))


async def test_an_event_that_the_relay_sends_twice_takes_effect_once(line: Line) -> None:
    """It dies between sending and deleting."""

    class Dying(Publisher):
        def __init__(self, publisher: Publisher) -> None:
            self.sends = 0
            self._publisher = publisher

        async def send(self, records: list[Outgoing]) -> None:
            await self._publisher.send(records)
            self.sends += 1
            if self.sends <= 2:
                raise NotSent("the relay died before it could delete what it had sent")

        async def close(self) -> None: ...

    await line.publish(*(survey(number) for number in range(20)))
    dying = Dying(line.transport.publisher())
    async with line.relaying(dying):
        await eventually(line.outbox_is_empty)
    assert len(await line.log(SurveyReported.TOPIC)) == 3 * 20
    before = duplicates()
    async with line.consuming(batch=8):  # so that the second is not in one batch with the first
        await line.until(20)
        await eventually(lambda: line.has_delivered(3 * 20))
    assert Counter(await line.numbers()) == Counter(range(20))
    assert duplicates() - before == 2 * 20


async def test_an_event_that_comes_twice_in_one_batch_takes_effect_once(line: Line) -> None:
    twice = outgoing(survey(1))
    await line.send(twice, twice)
    async with line.consuming():
        await eventually(lambda: line.has_delivered(2))
    assert await line.numbers() == [1]


async def test_effects_offset_and_new_events_commit_together_or_not_at_all(line: Line) -> None:
    async def fail_after_the_effect(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        await note(session, deliveries)
        raise RuntimeError

    await line.publish(survey(1))
    await line.relay()
    async with line.consuming(hearing(line.group, fail_after_the_effect)):
        await eventually(lambda: line.has_delivered(1))
    assert await line.numbers() == []
    assert await line.letters() == ["handler_failed"]
    assert await line.rows("select count(*) from delivered_event") == [(0,)], "a replay will find it undelivered"


async def test_a_commit_whose_answer_is_lost_is_not_done_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks between the commit and the answer to it: the consumer finds its offset moved."""
    await line.publish(*(survey(number) for number in range(5)))
    await line.relay()
    transaction = line.database.transaction
    lost = 0

    @asynccontextmanager
    async def lose_the_answer() -> AsyncIterator[AsyncSession]:
        nonlocal lost
        async with transaction() as session:
            yield session
            mine = text("select count(*) from effect where xmin = pg_current_xact_id()::xid")
            has_effects = await session.scalar(mine)
        if has_effects and lost < 2:
            lost += 1
            raise ConnectionError

    monkeypatch.setattr(line.database, "transaction", lose_the_answer)
    async with line.consuming(hearing_records(line), batch=1):
        await eventually(lambda: line.has_delivered(5))
    assert Counter(await line.numbers()) == Counter(range(5))
    assert lost == 2


async def test_a_delivery_that_is_cancelled_leaves_nothing_behind(line: Line) -> None:
    """As when the grace period is over."""
    handling = asyncio.Event()

    async def hang(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        await note(session, deliveries)
        handling.set()
        await asyncio.Event().wait()

    await line.publish(survey(1))
    await line.relay()
    with suppress(asyncio.CancelledError):
        async with line.consuming(hearing(line.group, hang)) as running:
            await handling.wait()
            running.task.cancel()
    assert running.task.cancelled()
    assert await line.numbers() == []
    async with line.consuming():
        assert await line.until(1) == [1]


async def test_a_stop_in_the_middle_of_a_failing_batch_passes_nothing_by(line: Line) -> None:
    """The batch is being halved, its first half waits for the database: the second must not go first."""
    failing = asyncio.Event()

    async def fail(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        numbers = [delivery.event.score for delivery in deliveries]
        if 0 in numbers:
            if len(numbers) > 1:
                raise RuntimeError
            failing.set()
            raise ConnectionError  # as when the database has gone away in between
        await note(session, deliveries)

    customer = survey(0).customer_id
    await line.publish(*(survey(number, customer) for number in range(8)))
    await line.relay()
    async with line.consuming(hearing(line.group, fail)):
        await failing.wait()
    assert await line.numbers() == []
    assert await line.offsets() == {}
    async with line.consuming():
        assert await line.until(8) == list(range(8))
    assert await line.letters() == []


@asynccontextmanager
async def two_consumers_of_which_one_hangs(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[asyncio.Event, dict[str, int]]]:
    """A consumer that has fetched everything and then hangs, as by SIGSTOP, while a second one takes over."""
    monkeypatch.setattr(KafkaSource, "REVOKE_SECONDS", 0.1)
    fetched, goes_on = asyncio.Event(), asyncio.Event()
    delivered = {"zombie": 0, "second": 0}
    zombie = HangingSource(line.transport.source(), fetched, goes_on)

    def counting(name: str) -> Subscriptions:
        subscriptions = Subscriptions(line.group)
        inner = hearing_records(line).for_records(SurveyReported.TOPIC)
        assert inner is not None

        async def handle_records(session: AsyncSession, records: Sequence[Record]) -> None:
            await inner.deliver(session, records)
            delivered[name] += len(records)

        subscriptions.on_records(SurveyReported.TOPIC, handle_records)
        return subscriptions

    async with line.consuming(counting("zombie"), source=zombie):
        await fetched.wait()
        async with line.consuming(counting("second")):
            await eventually(lambda: delivered["second"] > 0)
            yield goes_on, delivered
        await line.publish(*(survey(number) for number in range(1_000, 1_020)))
        await line.relay()
        await line.until(220)


async def test_a_consumer_that_lost_its_partitions_is_fenced_and_goes_on(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    await line.publish(*(survey(number) for number in range(200)))
    await line.relay()
    fenced_before = fenced()
    async with two_consumers_of_which_one_hangs(line, monkeypatch) as (goes_on, delivered):
        by_the_second = delivered["second"]
        assert by_the_second > 0
        goes_on.set()
        await line.until(200)
        await eventually(lambda: fenced() > fenced_before)
    assert Counter(await line.numbers()) == Counter([*range(200), *range(1_000, 1_020)])
    assert delivered["zombie"] + delivered["second"] == 220
    assert delivered["zombie"] >= 20, "it went on after the second had left"


class HangingSource:
    """A source whose consumer hangs once, with what it has fetched in its hands."""

    def __init__(self, source: Source, fetched: asyncio.Event, goes_on: asyncio.Event) -> None:
        self._source = source
        self._fetched = fetched
        self._goes_on = goes_on

    async def fetch(self, limit: int, wait: float) -> list[Batch]:
        batches = await self._source.fetch(limit, wait)
        if batches and not self._goes_on.is_set():
            while sum(len(batch.records) for batch in batches) < 200:
                more = await self._source.fetch(limit, wait)
                batches = [*batches, *more]
            self._fetched.set()
            await self._goes_on.wait()
        return batches

    async def start(
        self, group: str, topics: Sequence[str], positions: Positions, prepare: Prepare = unprepared
    ) -> None:
        await self._source.start(group, topics, positions, prepare)

    async def return_to_position(self, at: TopicPartition) -> None:
        await self._source.return_to_position(at)

    async def unread(self) -> dict[TopicPartition, int]:
        return await self._source.unread()

    async def report_progress(self, positions: Mapping[TopicPartition, int]) -> None:
        await self._source.report_progress(positions)

    async def stop(self) -> None:
        await self._source.stop()


async def test_a_batch_of_a_partition_that_was_never_begun_is_fenced(embedded: Line) -> None:
    """Only what was written down when the partition was assigned is its beginning."""
    async with embedded.database.transaction() as session:
        with pytest.raises(Fenced):
            await advance(session, TopicPartition("topic", 0), expected=7, next_offset=8)


async def test_offsets_of_another_cluster_or_of_a_topic_made_anew_are_refused(embedded: Line) -> None:
    at = TopicPartition("topic", 0)
    consumer = Consumer("scoring", embedded.database, embedded.transport.source(), hearing("test"))
    assert await consumer.begin({at: 0}, {"topic": LogIdentity("cluster")}) == {at: 0}
    assert await consumer.begin({at: 0}, {"topic": LogIdentity("cluster", "first")}) == {at: 0}, "now it has an id"
    assert await consumer.begin({at: 5}, {"topic": LogIdentity("cluster", "first")}) == {at: 0}
    with pytest.raises(WrongLog):
        await consumer.begin({at: 0}, {"topic": LogIdentity("cluster", "second")})
    with pytest.raises(WrongLog):
        await consumer.begin({at: 0}, {"topic": LogIdentity("another", "first")})


async def test_two_consumers_on_one_partition_begin_at_one_offset(embedded: Line) -> None:
    """What retention removes between two first assignments is not taken for the beginning by the second."""
    at = TopicPartition("topic", 0)
    consumer = Consumer("scoring", embedded.database, embedded.transport.source(), hearing("test"))
    logs = {"topic": LogIdentity("cluster")}
    first, second = await asyncio.gather(consumer.begin({at: 3}, logs), consumer.begin({at: 9}, logs))
    assert first == second


def duplicates() -> float:
    return sample("branchline_events_duplicate_total", topic=SurveyReported.TOPIC)


def fenced() -> float:
    return sample("branchline_deliveries_fenced_total")
