"""The Kafka transport, on aiokafka. Offsets live in the service's database; Kafka's own only feed lag tools."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from shared.messaging.consumer import Positions
from shared.messaging.records import Batch, NotSent, Outgoing, Record, TopicPartition

log = structlog.get_logger(__name__)

PARTITIONS = 48
REPLICAS = 3
"""Copies of each record, where there are as many brokers."""


async def create_topics(bootstrap: str, topics: Sequence[str], partitions: int = PARTITIONS) -> None:
    """Makes the topics that are not there yet."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        there = set(await admin.list_topics())
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = min(REPLICAS, brokers)
        missing = [NewTopic(topic, partitions, replicas) for topic in topics if topic not in there]
        if not missing:
            return
        answer = await admin.create_topics(missing)
        for _topic, code, *_rest in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)
    finally:
        await admin.close()


class KafkaPublisher:
    """An idempotent producer, started at the first use; one that failed is replaced."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer: AIOKafkaProducer | None = None

    async def send(self, records: list[Outgoing]) -> None:
        try:
            producer = await self._started()
            sent = [
                await producer.send(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=record.headers,
                )
                for record in records
            ]
            await asyncio.gather(*sent)
        except KafkaError as fault:
            await self.close()
            raise NotSent(type(fault).__name__) from fault

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                max_batch_size=262_144,
            )
            try:
                await producer.start()
            except KafkaError:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):  # it failed before, or what it still held will be sent again
                await producer.stop()


class KafkaSource:
    """Reads the partitions that the group assigns to it, each from the offset in the database."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer: AIOKafkaConsumer | None = None
        self._expected: dict[TopicPartition, int] = {}
        self._cluster = ""

    @property
    def cluster(self) -> str:
        return self._cluster

    async def start(self, group: str, topics: Sequence[str], positions: Positions) -> None:
        self._cluster = await _cluster_id(self._bootstrap)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=8 * 1024 * 1024,
            fetch_max_bytes=32 * 1024 * 1024,
            session_timeout_ms=30_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=300_000,
        )
        consumer.subscribe(topics, listener=_Assignment(self, consumer, positions))
        try:
            await consumer.start()
        except KafkaError:
            await consumer.stop()
            raise
        self._consumer = consumer

    async def seek(self, at: TopicPartition, offset: int | None) -> None:
        if self._consumer is not None and KafkaPartition(*at) in self._consumer.assignment():
            await self._place(self._consumer, at, offset)

    async def _place(self, consumer: AIOKafkaConsumer, at: TopicPartition, offset: int | None) -> None:
        partition = KafkaPartition(*at)
        if offset is None:
            offset = (await consumer.beginning_offsets([partition]))[partition]
        consumer.seek(partition, offset)
        self._expected[at] = offset

    async def fetch(self, limit: int, wait: float) -> list[Batch]:
        consumer = self._started()
        fetched = await consumer.getmany(timeout_ms=int(wait * 1000), max_records=limit)
        batches = []
        for partition, messages in fetched.items():
            at = TopicPartition(partition.topic, partition.partition)
            records = [Record(*at, m.offset, m.key, m.value, tuple(m.headers)) for m in messages]
            batch = Batch(at, self._expected[at], records)
            self._expected[at] = batch.next_offset
            batches.append(batch)
        return batches

    async def report_progress(self) -> None:
        consumer = self._started()
        owned = consumer.assignment()
        offsets = {KafkaPartition(*at): o for at, o in self._expected.items() if KafkaPartition(*at) in owned}
        try:
            await consumer.commit(offsets)
        except KafkaError as fault:
            log.info("progress_not_reported", fault=type(fault).__name__)  # the next report says it again

    async def stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("the source has not been started")
        return self._consumer


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    def __init__(self, source: KafkaSource, consumer: AIOKafkaConsumer, positions: Positions) -> None:
        self._source = source
        self._consumer = consumer
        self._positions = positions

    async def on_partitions_revoked(self, revoked: set[KafkaPartition]) -> None:
        """A delivery under way ends on its own: committed, or fenced by the offset."""

    async def on_partitions_assigned(self, assigned: set[KafkaPartition]) -> None:
        partitions = [TopicPartition(p.topic, p.partition) for p in assigned]
        stored = await self._positions(partitions)
        for at in partitions:
            await self._source._place(self._consumer, at, stored.get(at))  # noqa: SLF001, RUF100 - its other half


async def _cluster_id(bootstrap: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()
