"""What aiokafka fetched is taken from it record by record, in order, and only what counts."""

import weakref
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.errors import CorruptRecordException, OffsetOutOfRangeError

from shared.messaging import kafka_records
from shared.messaging.kafka import create_topics
from shared.messaging.kafka_batches import KafkaBatch
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.kafka_records import FetchedRecords, _next_batch
from tests.messaging.line import eventually

pytestmark = pytest.mark.kafka


@pytest.fixture
async def partition(kafka_bootstrap: str, topic: str) -> KafkaPartition:
    await create_topics(KafkaConnection(kafka_bootstrap), [topic], 2)
    return KafkaPartition(topic, 0)


@pytest.fixture
async def consumer(kafka_bootstrap: str, partition: KafkaPartition) -> AsyncIterator[AIOKafkaConsumer]:
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
    ) as consumer:
        consumer.assign([partition, KafkaPartition(partition.topic, 1)])
        yield consumer


async def append(producer: AIOKafkaProducer, partition: KafkaPartition, *numbers: int) -> None:
    """As one batch of Kafka's."""
    batch = producer.create_batch()
    for number in numbers:
        batch.append(key=None, value=b"%d" % number, timestamp=None)
    batch.close()
    await (await producer.send_batch(batch, partition.topic, partition=partition.partition))


async def take(fetched: FetchedRecords, *wanted: KafkaPartition, limit: int = 100) -> list[int]:
    return [int(record.value or b"") for record in await fetched.take(set(wanted), limit, 5.0)]


@pytest.mark.parametrize("by_columns", [1, 1_000])
async def test_a_limit_divides_a_batch_and_loses_nothing(
    kafka_bootstrap: str,
    partition: KafkaPartition,
    consumer: AIOKafkaConsumer,
    monkeypatch: pytest.MonkeyPatch,
    by_columns: int,
) -> None:
    monkeypatch.setattr(kafka_records, "BY_COLUMNS", by_columns)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for first in range(0, 30, 10):
            await append(producer, partition, *range(first, first + 10))
    consumer.seek(partition, 3)  # within a batch
    fetched = FetchedRecords(consumer)
    taken = [await take(fetched, partition, limit=limit) for limit in (4, 3, 1, 12, 100)]
    assert [len(some) for some in taken] == [4, 3, 1, 12, 7]
    assert [number for some in taken for number in some] == list(range(3, 30))
    assert await consumer.position(partition) == 30
    assert await fetched.take({partition}, 10, 0.05) == []
    consumer.seek(partition, 28)
    assert await take(fetched, partition) == [28, 29]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("by_columns", [1, 1_000])
async def test_a_publisher_compresses_as_it_likes(
    kafka_bootstrap: str,
    partition: KafkaPartition,
    consumer: AIOKafkaConsumer,
    monkeypatch: pytest.MonkeyPatch,
    codec: str,
    by_columns: int,
) -> None:
    monkeypatch.setattr(kafka_records, "BY_COLUMNS", by_columns)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, compression_type=codec) as producer:
        await append(producer, partition, *range(300))
    consumer.seek(partition, 0)
    fetched = FetchedRecords(consumer)
    assert await take(fetched, partition, limit=1_000) == list(range(300))


async def four_of_ten_taken(
    kafka_bootstrap: str, partition: KafkaPartition, consumer: AIOKafkaConsumer
) -> FetchedRecords:
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        await append(producer, partition, *range(10))
    consumer.seek(partition, 0)
    fetched = FetchedRecords(consumer)
    assert await take(fetched, partition, limit=4) == [0, 1, 2, 3]
    return fetched


async def test_what_a_limit_left_is_forgotten_when_the_position_moves(
    kafka_bootstrap: str, partition: KafkaPartition, consumer: AIOKafkaConsumer
) -> None:
    fetched = await four_of_ten_taken(kafka_bootstrap, partition, consumer)
    consumer.seek(partition, 2)
    assert await take(fetched, partition, limit=3) == [2, 3, 4]


async def test_what_a_limit_left_goes_with_its_partition(
    kafka_bootstrap: str, partition: KafkaPartition, consumer: AIOKafkaConsumer
) -> None:
    """Else whoever loses partitions keeps a fetch of each."""
    _fetched = await four_of_ten_taken(kafka_bootstrap, partition, consumer)
    fetch = weakref.ref(consumer._fetcher._records[partition])
    consumer.assign([partition._replace(partition=1)])
    await eventually(lambda: fetch() is None, 5.0)


async def test_only_the_partitions_asked_for_are_taken_each_in_its_turn(
    kafka_bootstrap: str, partition: KafkaPartition, consumer: AIOKafkaConsumer
) -> None:
    other = partition._replace(partition=1)
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        await append(producer, partition, *range(4))
        await append(producer, other, *range(10, 14))
    consumer.seek(partition, 0)
    consumer.seek(other, 0)
    fetched = FetchedRecords(consumer)
    assert await take(fetched, other, limit=1) == [10]
    assert await take(fetched, other, limit=1) == [11]
    turns = [await take(fetched, partition, other, limit=2) for _ in range(3)]
    assert sorted(turns) == [[0, 1], [2, 3], [12, 13]]
    assert turns[1] == [12, 13], "the one that was read last waits for the other"


async def test_what_a_transaction_took_back_is_not_read(
    kafka_bootstrap: str, partition: KafkaPartition, consumer: AIOKafkaConsumer
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=partition.topic)
    await producer.start()
    try:
        for number, commits in enumerate((True, False, True)):
            await producer.begin_transaction()
            await producer.send_and_wait(partition.topic, b"%d" % number, partition=0)
            await (producer.commit_transaction() if commits else producer.abort_transaction())
    finally:
        await producer.stop()
    consumer.seek(partition, 0)
    fetched = FetchedRecords(consumer)
    taken: list[int] = []
    while await consumer.position(partition) < 6:  # the last marker; the broker writes them when it comes to it
        taken += await take(fetched, partition)
    assert taken == [0, 2]


async def test_an_offset_that_the_log_does_not_have_is_an_error(
    partition: KafkaPartition, consumer: AIOKafkaConsumer
) -> None:
    consumer.seek(partition, 1_000)
    with pytest.raises(OffsetOutOfRangeError):
        await FetchedRecords(consumer).take({partition}, 10, 5.0)


async def test_a_batch_whose_checksum_is_wrong_is_not_read(
    kafka_bootstrap: str, partition: KafkaPartition, consumer: AIOKafkaConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap) as producer:
        for first in range(0, 30, 10):
            await append(producer, partition, *range(first, first + 10))
    consumer.seek(partition, 0)
    whole = KafkaBatch.is_whole
    monkeypatch.setattr(KafkaBatch, "is_whole", lambda batch: whole(batch) and batch.base_offset != 20)
    fetched = FetchedRecords(consumer)
    assert await take(fetched, partition, limit=20) == [*range(20)]
    with pytest.raises(CorruptRecordException):
        await take(fetched, partition)


def test_a_batch_that_would_be_passed_by_is_checked_as_well() -> None:
    batch = SimpleNamespace(validate_crc=lambda: False, next_offset=9, is_control_batch=True, producer_id=None)
    records = SimpleNamespace(next_batch=lambda: batch)
    with pytest.raises(CorruptRecordException):
        _next_batch(SimpleNamespace(_tp=("topic", 0), _records=records, _isolation_level=READ_COMMITTED))
