"""Everything about one key is in order, from the transaction that made it true to the handler."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import pytest
from aiokafka.errors import KafkaTimeoutError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery
from shared.events.customer import DayClosed, LifeEventReported, SurveyReported
from shared.ids import new_id
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import KafkaPublisher
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.outbox import publish, write_outbox
from shared.messaging.partitioning import murmur2, partition_of
from shared.messaging.subscriptions import Subscriptions
from tests.messaging.line import PARTITIONS, Line, hearing, life_event, note, outgoing, survey


async def test_a_keys_events_are_delivered_in_the_order_in_which_they_were_published(line: Line) -> None:
    customers = [new_id() for _ in range(20)]
    events = [survey(number, customers[number % len(customers)]) for number in range(600)]
    async with line.relaying(batch=70), line.consuming(batch=50):
        for first in range(0, len(events), 40):
            await line.publish(*events[first : first + 40])
        await line.until(len(events))
    seen: dict[UUID | None, list[int]] = defaultdict(list)
    for effect in await line.effects():
        seen[effect.customer_id].append(effect.number)
    assert seen == {customer: list(range(i, 600, len(customers))) for i, customer in enumerate(customers)}


async def test_a_key_has_one_partition_and_it_is_the_same_on_both_logs(line: Line) -> None:
    events = [survey(number) for number in range(100)]
    await line.publish(*events)
    await line.relay()
    for record in await line.log(SurveyReported.TOPIC):
        assert record.key is not None
        assert record.partition == partition_of(record.key, PARTITIONS)


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_keys_are_hashed_as_kafkas_java_client_does(key: bytes, hashed: int) -> None:
    """The values of its own test, UtilsTest.testMurmur2."""
    assert murmur2(key) == hashed & 0xFFFFFFFF


async def test_what_goes_to_a_partition_arrives_there_behind_what_was_published_before(line: Line) -> None:
    """DayClosed goes to every partition, behind the day's transactions."""
    events = [survey(number) for number in range(40)]
    async with line.database.transaction() as session:
        for event in events:
            publish(session, event)
        for partition in range(PARTITIONS):
            publish(session, DayClosed(business_date=date(2026, 11, 24)), partition=partition)
    async with line.relaying(), line.consuming():
        await line.until(len(events) + PARTITIONS)
    by_partition: dict[int, list[int]] = defaultdict(list)
    for effect in await line.effects():
        by_partition[effect.partition].append(effect.number)
    assert set(by_partition) == set(range(PARTITIONS))
    for numbers in by_partition.values():
        assert numbers.count(-1) == 1
        assert numbers[-1] == -1


async def test_an_event_whose_transaction_commits_late_is_sent_before_those_that_came_after_it(line: Line) -> None:
    """The first of two transactions to write to the outbox commits last: its rows have the lower ids."""
    customer = new_id()
    async with line.relaying(), line.consuming(), AsyncSession(line.database.jobs) as late:
        publish(late, survey(1, customer))
        await write_outbox(late)
        await line.publish(survey(2, customer))
        await line.publish(survey(3, customer))
        assert await line.rows("select count(*) from outbox") == [(2,)], "not yet, for the first is not there"
        await late.commit()
        assert await line.until(3) == [1, 2, 3]


async def test_what_follows_a_batch_that_failed_is_not_sent() -> None:
    """All of it is sent again: what had gone ahead would be there before what it followed."""
    sent: list[list[bytes]] = []

    class Batch:
        def __init__(self) -> None:
            self.values: list[bytes] = []

        def append(self, *, value: bytes, **_: Any) -> object | None:
            if len(self.values) == 2:
                return None
            self.values.append(value)
            return self

        def close(self) -> None: ...

    class Producer:
        """What aiokafka's is to the publisher; the second batch fails."""

        create_batch = Batch

        async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> "asyncio.Future[None]":
            sent.append(batch.values)
            answer = asyncio.get_running_loop().create_future()
            if len(sent) == 2:
                answer.set_exception(KafkaTimeoutError())
            else:
                answer.set_result(None)
            return answer

    publisher = KafkaPublisher(KafkaConnection("nowhere:9092"))
    records = [outgoing(survey(number))._replace(value=str(number).encode()) for number in range(6)]
    with pytest.raises(KafkaTimeoutError):
        await publisher._append(Producer(), "topic", 0, records)
    assert sent == [[b"0", b"1"], [b"2", b"3"]]


async def test_an_event_does_not_pass_one_of_a_transaction_that_is_still_held_back(line: Line) -> None:
    """Who writes early and locks the customer late comes after who did it the other way round."""
    customer = new_id()
    begin = text("select pg_current_xact_id()")
    jobs = line.database.jobs
    async with line.relaying(), line.consuming(), AsyncSession(jobs) as early, AsyncSession(jobs) as other:
        await early.execute(begin)
        await other.execute(begin)
        await line.publish(survey(1, customer))
        publish(early, survey(2, customer))
        await write_outbox(early)
        await early.commit()
        await asyncio.sleep(0.5)
        assert await line.rows("select count(*) from outbox") == [(2,)], "another one holds it back"
        await other.commit()
        assert await line.until(2) == [1, 2]


async def test_events_of_a_commutative_handler_come_at_once_and_the_others_in_runs(line: Line) -> None:
    calls: list[tuple[str, list[int]]] = []

    async def surveys(session: AsyncSession, deliveries: Sequence[Delivery[Any]]) -> None:
        calls.append(("surveys", [delivery.event.score for delivery in deliveries]))
        await note(session, deliveries)

    async def life_events(session: AsyncSession, deliveries: Sequence[Delivery[Any]]) -> None:
        calls.append(("life events", [-1 for _ in deliveries]))
        await note(session, deliveries)

    def subscriptions(commutative: bool) -> Subscriptions:
        subscribed = Subscriptions(line.group)
        subscribed.on(SurveyReported, surveys, commutative=commutative)
        subscribed.on(LifeEventReported, life_events)
        return subscribed

    customer = new_id()
    mixed = (survey(1, customer), survey(2, customer), life_event(customer), survey(3, customer), life_event(customer))
    await line.publish(*mixed)
    await line.relay()
    async with line.consuming(subscriptions(commutative=False)):
        await line.until(5)
    assert calls == [("surveys", [1, 2]), ("life events", [-1]), ("surveys", [3]), ("life events", [-1])]

    calls.clear()
    await line.publish(*mixed)
    await line.relay()
    async with line.consuming(subscriptions(commutative=True)):
        await line.until(10)
    assert calls == [("surveys", [1, 2, 3]), ("life events", [-1, -1])]


async def test_batches_become_smaller_while_their_transactions_are_long(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long transaction holds up every relay of the cluster."""
    monkeypatch.setattr(Consumer, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(Consumer, "LEAST", 10)
    sizes: list[int] = []

    async def count(session: AsyncSession, deliveries: Sequence[Delivery[Any]]) -> None:
        sizes.append(len(deliveries))
        await note(session, deliveries)

    customer = new_id()
    await line.publish(*(survey(number, customer) for number in range(400)))
    await line.relay()
    async with line.consuming(hearing(line.group, count), batch=200):
        assert await line.until(400) == list(range(400))
    assert sizes == [200, 100, 50, 25, 12, 10, 3]


async def test_known_events_that_nobody_here_hears_are_passed_by(line: Line) -> None:
    subscriptions = Subscriptions(line.group)
    subscriptions.on(SurveyReported, note)
    await line.publish(life_event(), survey(1), life_event(), survey(2))
    async with line.relaying(), line.consuming(subscriptions):
        assert sorted(await line.until(2)) == [1, 2]
    assert await line.letters() == []
