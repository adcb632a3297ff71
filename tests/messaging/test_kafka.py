"""What only Kafka has: groups, its own commits, transactions, topics that are made anew."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from shared.events.customer import SurveyReported
from shared.messaging.consumer import Consumer
from shared.messaging.faults import Away, OffsetOutOfRange
from shared.messaging.kafka import KafkaPublisher, KafkaSource, PartitionsDiffer, create_topics
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.kafka_metadata import identify
from shared.messaging.positions import WrongLog
from shared.messaging.records import NotSent
from tests.messaging.line import PARTITIONS, Line, eventually, outgoing, survey
from tests.messaging.test_dead_letters import ended

pytestmark = pytest.mark.kafka


async def test_kafkas_own_commits_are_never_read(on_kafka: Line, kafka_bootstrap: str) -> None:
    """Whatever stands there, in front of or behind the database's, it feeds lag tools alone."""
    customer = survey(0).customer_id
    await on_kafka.publish(*(survey(number, customer) for number in range(30)))
    await on_kafka.relay()
    (partition,) = {record.partition for record in await on_kafka.log(SurveyReported.TOPIC)}
    at = TopicPartition(SurveyReported.TOPIC, partition)

    async def commit(offset: int) -> None:
        async with AIOKafkaConsumer(
            bootstrap_servers=kafka_bootstrap, group_id=on_kafka.group, enable_auto_commit=False
        ) as tool:
            tool.assign([at])
            await tool.commit({at: offset})

    await commit(20)
    async with on_kafka.consuming(batch=10):
        await on_kafka.until(30)
    await commit(5)
    async with on_kafka.consuming():
        await on_kafka.publish(survey(30, customer))
        await on_kafka.relay()
        await on_kafka.until(31)
    assert await on_kafka.numbers() == list(range(31))


async def test_lag_tools_see_where_the_consumer_stands(
    on_kafka: Line, kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Consumer, "REPORT_SECONDS", 0.1)
    await on_kafka.publish(*(survey(number) for number in range(30)))

    async def committed() -> bool:
        async with AIOKafkaAdminClientFor(kafka_bootstrap) as admin:
            offsets = await admin.list_consumer_group_offsets(on_kafka.group)
        return {at.partition: offset.offset for at, offset in offsets.items() if offset.offset} == (
            await on_kafka.offsets()
        )

    async with on_kafka.relaying(), on_kafka.consuming():
        await on_kafka.until(30)
        await eventually(committed)


async def test_a_consumer_without_a_partition_waits_for_one(on_kafka: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """More replicas than partitions: it has no progress to report, and takes over when another leaves."""
    monkeypatch.setattr(Consumer, "REPORT_SECONDS", 0.1)
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(on_kafka.consuming()) for _ in range(PARTITIONS + 2)]
        async with on_kafka.relaying():
            await on_kafka.publish(*(survey(number) for number in range(100)))
            await on_kafka.until(100)
            await asyncio.sleep(1)
            assert not any(one.task.done() for one in running)
            for one in running[:-1]:
                await one.stop()
            await on_kafka.publish(*(survey(number) for number in range(100, 200)))
            await on_kafka.until(200)
            assert len(await running[-1].consumer.lag()) == PARTITIONS
    assert Counter(await on_kafka.numbers()) == Counter(range(200))


async def test_consumers_that_come_and_go_under_load_lose_and_double_nothing(on_kafka: Line) -> None:
    async with on_kafka.relaying(batch=40), on_kafka.consuming(batch=10):

        async def load() -> None:
            for first in range(0, 800, 20):
                await on_kafka.publish(*(survey(number) for number in range(first, first + 20)))
                await asyncio.sleep(0.1)

        loading = asyncio.ensure_future(load())
        for _ in range(3):
            async with on_kafka.consuming(batch=10):
                await on_kafka.until(len(await on_kafka.numbers()) + 60)
        await loading
        await on_kafka.until(800)
    assert Counter(await on_kafka.numbers()) == Counter(range(800))
    assert await on_kafka.letters() == []


async def test_a_client_whose_fetcher_has_died_is_replaced(on_kafka: Line) -> None:
    """aiokafka itself would wait for it for ever, without a word."""
    source = on_kafka.transport.source()
    assert isinstance(source, KafkaSource)
    async with on_kafka.relaying(), on_kafka.consuming(source=source):
        await on_kafka.publish(survey(1))
        await on_kafka.until(1)
        assert source._consumer is not None
        source._consumer._fetcher._fetch_task.cancel()
        await asyncio.sleep(1)  # what it had asked for is answered
        await on_kafka.publish(survey(2))
        assert await on_kafka.until(2) == [1, 2]


async def test_what_a_bank_takes_back_within_kafka_is_not_delivered(on_kafka: Line, kafka_bootstrap: str) -> None:
    """The core's topic may be written in transactions. Their markers are no lag."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=on_kafka.group)
    await producer.start()
    for number, kept in ((1, True), (2, False), (3, True)):
        await producer.begin_transaction()
        sent = outgoing(survey(number))
        await producer.send(sent.topic, key=sent.key, value=sent.value, partition=0, headers=list(sent.headers))
        await (producer.commit_transaction() if kept else producer.abort_transaction())
    await producer.stop()
    async with on_kafka.consuming() as running:
        assert await on_kafka.until(2) == [1, 3]
        await eventually(lambda: nothing_behind(running.consumer))


async def test_an_offset_that_retention_has_removed_stops_the_subscription(
    on_kafka: Line, kafka_bootstrap: str
) -> None:
    customer = survey(0).customer_id
    await on_kafka.publish(*(survey(number, customer) for number in range(3)))
    await on_kafka.relay()
    async with on_kafka.consuming():
        await on_kafka.until(3)
    await on_kafka.publish(*(survey(number, customer) for number in range(3, 10)))
    await on_kafka.relay()
    (partition,) = {record.partition for record in await on_kafka.log(SurveyReported.TOPIC)}
    async with AIOKafkaAdminClientFor(kafka_bootstrap) as admin:
        await admin.delete_records({TopicPartition(SurveyReported.TOPIC, partition): RecordsToDelete(5)})
    with pytest.raises(OffsetOutOfRange):
        async with on_kafka.consuming() as running:
            await ended(running)
    assert await on_kafka.numbers() == [0, 1, 2], "nothing is skipped"


async def test_a_topic_that_was_made_anew_stops_the_subscription(on_kafka: Line, kafka_bootstrap: str) -> None:
    """It has grown beyond the offset again: only its id tells."""
    customer = survey(0).customer_id
    await on_kafka.publish(*(survey(number, customer) for number in range(3)))
    await on_kafka.relay()
    async with on_kafka.consuming():
        await on_kafka.until(3)
    before = await identify(KafkaConnection(kafka_bootstrap), [SurveyReported.TOPIC])
    async with AIOKafkaAdminClientFor(kafka_bootstrap) as admin:
        await admin.delete_topics([SurveyReported.TOPIC])
        await eventually(lambda: is_gone(admin))
    await create_topics(KafkaConnection(kafka_bootstrap), [SurveyReported.TOPIC], PARTITIONS)
    publisher = KafkaPublisher(KafkaConnection(kafka_bootstrap))
    await publisher.send([outgoing(survey(number, customer)) for number in range(10)])
    await publisher.close()
    after = await identify(KafkaConnection(kafka_bootstrap), [SurveyReported.TOPIC])
    assert before[SurveyReported.TOPIC].cluster == after[SurveyReported.TOPIC].cluster
    assert before != after
    with pytest.raises(WrongLog):
        async with on_kafka.consuming() as running:
            await ended(running)
    assert await on_kafka.numbers() == [0, 1, 2]


async def test_relays_that_share_a_publisher_share_a_producer(on_kafka: Line, kafka_bootstrap: str) -> None:
    publisher = KafkaPublisher(KafkaConnection(kafka_bootstrap))
    started = await asyncio.gather(*(publisher._started() for _ in range(4)))
    await publisher.close()
    assert len({id(producer) for producer in started}) == 1


async def test_a_partition_that_is_not_there_is_refused_and_alarms(on_kafka: Line) -> None:
    """The setting and the topic differ: the relay tries again until one of them is put right."""
    with pytest.raises(NotSent, match="there is no partition 99"):
        await on_kafka.transport.publisher().send([outgoing(survey(1))._replace(partition=99)])


async def test_topics_with_another_number_of_partitions_are_refused(on_kafka: Line, kafka_bootstrap: str) -> None:
    """A day's close goes to each partition: with too few of them known, the others would never close."""
    connection = KafkaConnection(kafka_bootstrap)
    await create_topics(connection, [SurveyReported.TOPIC], PARTITIONS)
    with pytest.raises(PartitionsDiffer, match="has 4 partitions, not 8"):
        await create_topics(connection, [SurveyReported.TOPIC], 8)


async def test_a_first_group_begins_at_the_earliest_record_that_is_left(on_kafka: Line, kafka_bootstrap: str) -> None:
    customer = survey(0).customer_id
    await on_kafka.publish(*(survey(number, customer) for number in range(10)))
    await on_kafka.relay()
    (partition,) = {record.partition for record in await on_kafka.log(SurveyReported.TOPIC)}
    async with AIOKafkaAdminClientFor(kafka_bootstrap) as admin:
        await admin.delete_records({TopicPartition(SurveyReported.TOPIC, partition): RecordsToDelete(4)})
    async with on_kafka.consuming():
        assert await on_kafka.until(6) == list(range(4, 10))


async def nothing_behind(consumer: Consumer) -> bool:
    try:
        lag = await consumer.lag()
    except Away:
        return False
    return len(lag) == PARTITIONS and not any(lag.values())


async def is_gone(admin: AIOKafkaAdminClient) -> bool:
    return SurveyReported.TOPIC not in await admin.list_topics()


class AIOKafkaAdminClientFor:
    def __init__(self, bootstrap: str) -> None:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._admin.start()
        return self._admin

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()
