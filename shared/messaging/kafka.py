"""The Kafka transport, on aiokafka. Offsets live in the service's database; Kafka's own only feed lag tools."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAlreadyExistsError, for_code

from shared.events import corebanking
from shared.messaging.crash_points import CrashPoint, reached
from shared.messaging.faults import Away, OffsetOutOfRange, name_of
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.kafka_metadata import identify
from shared.messaging.kafka_records import FetchedRecords
from shared.messaging.partitioning import partition_of
from shared.messaging.records import Batch, NotSent, Outgoing, Record, TopicPartition
from shared.messaging.source import Positions, Prepare, unprepared
from shared.spare_time import make_ahead, turn

log = structlog.get_logger(__name__)

PARTITIONS = 48
REPLICAS = 3
"""Copies of each record, where there are as many brokers."""
QUIT_SECONDS = 5.0
"""For a client to take its leave; one whose broker is away would try for ever."""


class PartitionsDiffer(Exception):
    """A topic is there with another number of partitions: what goes to each of them would miss some."""


async def create_topics(connection: KafkaConnection, topics: Sequence[str], partitions: int = PARTITIONS) -> None:
    """Makes the topics that are not there yet. Raises PartitionsDiffer; the core's topic is the bank's own."""
    admin = AIOKafkaAdminClient(**connection.client)
    await admin.start()
    try:
        there = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
        for topic in topics:
            if topic != corebanking.TOPIC and there.get(topic, partitions) != partitions:
                raise PartitionsDiffer(f"{topic} has {there[topic]} partitions, not {partitions}")
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = min(REPLICAS, brokers)
        # An acknowledged record is then on two brokers at least.
        configs = {"min.insync.replicas": "2"} if replicas == REPLICAS else {}
        missing = [NewTopic(topic, partitions, replicas, None, configs) for topic in topics if topic not in there]
        if not missing:
            return
        answer = await admin.create_topics(missing)
        for _topic, code, *_rest in answer.topic_errors:
            if code not in (0, TopicAlreadyExistsError.errno):
                raise for_code(code)
    finally:
        await admin.close()


class KafkaPublisher:
    """An idempotent producer, started at the first use; one that failed is replaced. Relays may share it."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def send(self, records: list[Outgoing]) -> None:
        producer = await self._started()
        try:
            topics = {record.topic for record in records}
            partitions = {topic: len(await producer.partitions_for(topic)) for topic in topics}
            by_partition: dict[tuple[str, int], list[Outgoing]] = defaultdict(list)
            for record in records:
                partition = record.partition
                if partition is None:
                    partition = partition_of(record.key, partitions[record.topic])
                elif partition >= partitions[record.topic]:
                    raise NotSent(f"there is no partition {partition} of {record.topic}")
                by_partition[record.topic, partition].append(record)
            await asyncio.gather(*(self._append(producer, *at, some) for at, some in by_partition.items()))
        except KafkaError as fault:
            await self._replace(producer)
            raise NotSent(name_of(fault)) from fault

    async def _append(self, producer: AIOKafkaProducer, topic: str, partition: int, records: list[Outgoing]) -> None:
        """Appends to one partition, in order, by the client's batches: a future for each record costs more than it.

        One batch after the other: else one that failed would be sent again behind those that followed it.
        """
        batch = producer.create_batch()
        for record in records:
            headers = list(record.headers)
            if batch.append(key=record.key, value=record.value, timestamp=None, headers=headers) is None:
                await (await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=record.key, value=record.value, timestamp=None, headers=headers)
        batch.close()
        await (await producer.send_batch(batch, topic, partition=partition))
        reached(CrashPoint.HALF_SENT)

    async def _started(self) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._connection.client,
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=5,
                    max_batch_size=262_144,
                )
                try:
                    await producer.start()
                except KafkaError as fault:
                    await _quit_producer(producer)
                    raise NotSent(name_of(fault)) from fault
                except BaseException:
                    await _quit_producer(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _replace(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await _quit_producer(producer)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _quit_producer(producer)


class _Ahead(NamedTuple):
    """What was taken from the client while the batch before is delivered."""

    records: Sequence[Record]
    prepared: Any


class KafkaSource:
    """Reads the partitions that the group assigns to it, each from the offset in the database.

    aiokafka begins an assignment where the group's own commits say, before and while it tells of it. So an
    assigned partition is paused until it is placed where the database says, by `fetch` and not by the
    listener: that may not wait for a database while the group waits for it. What was fetched across a
    rebalance is fetched again. A client that fails is replaced.

    While a batch is delivered the next one is taken from the client and prepared, one at a time.
    """

    REVOKE_SECONDS = 10.0  # for a delivery under way to commit before its partition goes to another
    COMMIT_SECONDS = 2.0  # for a report of progress, which may as well fail

    def __init__(self, connection: KafkaConnection, *, fetch_mib: int = 11) -> None:
        """`fetch_mib` is of one partition, and so the most of a batch; some four fetches are in memory at once."""
        self._connection = connection
        self._fetch_bytes = fetch_mib * 2**20
        self._group = ""
        self._topics: list[str] = []
        self._positions: Positions | None = None
        self._prepare: Prepare = unprepared
        self._consumer: AIOKafkaConsumer | None = None
        self._fetched: FetchedRecords | None = None
        self._polling: asyncio.Future[_Ahead] | None = None
        self._taken: Sequence[Record] = ()
        self._polling_since = 0
        self._moves = 0
        self._unplaced: set[TopicPartition] = set()
        self._expected: dict[TopicPartition, int] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(
        self, group: str, topics: Sequence[str], positions: Positions, prepare: Prepare = unprepared
    ) -> None:
        self._group, self._topics, self._positions, self._prepare = group, list(topics), positions, prepare
        await self._open()

    async def fetch(self, limit: int, wait: float) -> list[Batch]:
        self._idle.set()
        consumer = self._consumer or await self._open()
        if self._unplaced:
            await self._place(consumer)
        batches = await self._poll(consumer, limit, wait)
        if batches:
            self._idle.clear()
        return batches

    async def return_to_position(self, at: TopicPartition) -> None:
        if self._consumer is not None and self._expected.pop(at, None) is not None:
            self._consumer.pause(KafkaPartition(*at))
            self._unplaced.add(at)
            self._moves += 1  # what was taken meanwhile lies behind records that are to come again

    async def unread(self) -> dict[TopicPartition, int]:
        consumer, placed = self._consumer, list(self._expected)
        if consumer is None:
            raise Away("not connected")
        if not placed:
            return {}
        try:
            ends = await consumer.end_offsets([KafkaPartition(*at) for at in placed])
            # Positions go over the markers of transactions, which are no records.
            return {
                at: max(0, ends[at] - await consumer.position(KafkaPartition(*at))) + self._held_back(at)
                for at in placed
            }
        except KafkaError as fault:
            raise Away(name_of(fault)) from fault

    async def report_progress(self, positions: Mapping[TopicPartition, int]) -> None:
        offsets = {KafkaPartition(*at): positions[at] for at in self._expected if at in positions}
        if self._consumer is None or not offsets:
            return
        try:
            await asyncio.wait_for(self._consumer.commit(offsets), self.COMMIT_SECONDS)
        except (KafkaError, TimeoutError) as fault:
            raise Away(name_of(fault)) from fault

    async def stop(self) -> None:
        self._idle.set()
        await self._close()

    async def _open(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._connection.client,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            max_partition_fetch_bytes=self._fetch_bytes,
            fetch_max_bytes=self._fetch_bytes,
            session_timeout_ms=10_000,  # the partitions of one that was killed wait so long; who is only slow is fenced
            heartbeat_interval_ms=2_000,
            rebalance_timeout_ms=30_000,
            max_poll_interval_ms=3_600_000,  # who waits for the database keeps its partitions
        )
        consumer.subscribe(self._topics, listener=_Assignment(self, consumer))
        self._consumer = consumer
        async with self._replaced_if_it_fails():
            await consumer.start()
            self._fetched = FetchedRecords(consumer)
        return consumer

    async def _close(self) -> None:
        polling, consumer = self._polling, self._consumer
        self._polling = self._consumer = self._fetched = None
        self._taken = ()
        self._forget_assignment()
        if polling is not None:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
        if consumer is not None:
            await _quit_consumer(consumer)

    @asynccontextmanager
    async def _replaced_if_it_fails(self) -> AsyncIterator[None]:
        """Whatever a client's failure left behind, a new one begins at the database's offsets. Raises Away."""
        try:
            yield
        except OffsetOutOfRangeError as fault:
            raise OffsetOutOfRange(f"no longer has, or never had, offset {fault}") from fault
        except Exception as fault:
            await self._close()
            if not getattr(fault, "retriable", False):
                log.error("client_failed", fault=name_of(fault), exc_info=True)
            raise Away(name_of(fault)) from fault
        except BaseException:
            await self._close()
            raise

    async def _place(self, consumer: AIOKafkaConsumer) -> None:
        """Moves what was assigned to where the database says, and begins to read it."""
        assert self._positions is not None
        moves, unplaced = self._moves, sorted(self._unplaced)
        partitions = [KafkaPartition(*at) for at in unplaced]
        async with self._replaced_if_it_fails():
            identities = await identify(self._connection, self._topics)
            earliest = await consumer.beginning_offsets(partitions)
        positions = await self._positions({at: earliest[at] for at in unplaced}, identities)
        if moves != self._moves:
            return
        for at, partition in zip(unplaced, partitions, strict=True):
            consumer.seek(partition, positions[at])
            self._expected[at] = positions[at]
        consumer.resume(*partitions)
        self._unplaced -= set(unplaced)

    async def _poll(self, consumer: AIOKafkaConsumer, limit: int, wait: float) -> list[Batch]:
        async with self._replaced_if_it_fails():
            polling = self._polling or self._begin_polling(consumer, limit, wait)
            # While the group is being rebalanced it waits without a limit, and must not be cancelled: it would lose
            # what it has taken.
            await asyncio.wait({polling}, timeout=wait + 0.5)
            if not polling.done():
                return []
            (records, prepared), self._polling, self._taken = polling.result(), None, ()
            if not records:
                return []
            at = TopicPartition(records[0].topic, records[0].partition)
            if self._polling_since != self._moves:
                if at in self._expected:
                    consumer.seek(KafkaPartition(*at), self._expected[at])
                return []
            fits = len(records) <= limit  # which may be less than when they were asked for
            batch = Batch(at, self._expected[at], records[:limit], prepared if fits else None)
            self._expected[at] = batch.next_offset
            if fits:
                self._begin_polling(consumer, limit, wait)
            else:
                self._taken = records[limit:]
                self._polling = asyncio.get_running_loop().create_future()
                self._polling.set_result(_Ahead(self._taken, None))
            return [batch]

    def _begin_polling(self, consumer: AIOKafkaConsumer, limit: int, wait: float) -> "asyncio.Future[_Ahead]":
        if consumer._fetcher.error_future.done():  # nothing would come any more
            raise Away("the client's fetcher has ended")
        self._polling = asyncio.ensure_future(self._take(limit, wait))
        self._polling_since = self._moves
        return self._polling

    async def _take(self, limit: int, wait: float) -> _Ahead:
        assert self._fetched is not None
        make_ahead()
        await turn()
        self._taken = records = await self._fetched.take(self._expected, limit, wait)
        return _Ahead(records, await self._prepare(records) if records else None)

    def _held_back(self, at: TopicPartition) -> int:
        """How many records of the partition were taken from the client and not given to anybody."""
        taken = sum(record[:2] == at for record in self._taken[:1]) * len(self._taken)
        return taken + (self._fetched.being_read(at) if self._fetched else 0)

    def _take_assignment(self, assigned: set[KafkaPartition]) -> None:
        assert self._consumer is not None
        self._forget_assignment()
        self._unplaced.update(TopicPartition(*partition) for partition in assigned)
        self._consumer.pause(*assigned)

    def _forget_assignment(self) -> None:
        self._moves += 1
        self._expected.clear()
        self._unplaced.clear()


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Tells the source; does not wait for what waits for the source."""

    def __init__(self, source: KafkaSource, consumer: Any) -> None:
        self._source = source
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[KafkaPartition]) -> None:  # noqa: ARG002 - aiokafka's
        """Gives a delivery under way time to commit. If it does not, it is fenced by the offset."""
        source = self._source
        if source._consumer is self._consumer:
            source._forget_assignment()
            with suppress(TimeoutError):
                await asyncio.wait_for(source._idle.wait(), source.REVOKE_SECONDS)

    async def on_partitions_assigned(self, assigned: set[KafkaPartition]) -> None:
        if self._source._consumer is self._consumer:
            self._source._take_assignment(assigned)


async def _quit_consumer(consumer: AIOKafkaConsumer) -> None:
    """Leaves the group and closes. One that cannot is cut off: a heartbeat that goes on would keep its partitions."""
    try:
        await asyncio.wait_for(consumer.stop(), QUIT_SECONDS)
    except (KafkaError, TimeoutError) as fault:
        log.warning("consumer_cut_off", fault=name_of(fault))
        coordinator, fetcher = consumer._coordinator, consumer._fetcher
        if coordinator is not None:
            for task in (coordinator._heartbeat_task, coordinator._coordination_task, coordinator._commit_refresh_task):
                if task is not None:
                    task.cancel()
        with suppress(Exception):
            if fetcher is not None:
                await fetcher.close()
            await consumer._client.close()


async def _quit_producer(producer: AIOKafkaProducer) -> None:
    """Closes. One whose broker is away would wait for it: it is cut off, for the outbox still has what it held."""
    try:
        await asyncio.wait_for(producer.stop(), QUIT_SECONDS)
    except (KafkaError, TimeoutError) as fault:
        log.warning("producer_cut_off", fault=name_of(fault))
        if producer._sender.sender_task is not None:
            producer._sender.sender_task.cancel()
        with suppress(Exception):
            await producer.client.close()
