"""Records out of what aiokafka fetched: many at once by columns, a few by aiokafka's own parser.

aiokafka's `getmany` makes of each record a dataclass, in three layers of Python: of 6 µs a record, 4 were spent there,
and 1.4 in its parser, in C. By columns it is 0.3. What aiokafka does besides is done here as well: errors, moved
positions, checksums, aborted transactions (KIP-98).
"""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException
from aiokafka.record.memory_records import MemoryRecords

from shared.byte_slices import Unusual
from shared.messaging.kafka_batches import HeaderLayouts, KafkaBatch, OldBatch, batch_in, reading_columns
from shared.messaging.records import Record, TopicPartition
from shared.spare_time import in_turns, turn

CHECKED_AT_ONCE = 2**20  # bytes
BY_COLUMNS = 200  # records and more; for fewer, columns cost more than objects


class _Fetched(MemoryRecords):  # type: ignore[misc] # aiokafka ships no types
    """aiokafka's own, which hides the bytes that it divides into batches. `last` is where the last one was."""

    def __init__(self, fetched: bytes) -> None:
        super().__init__(fetched)
        self.fetched = fetched
        self.last = slice(0, 0)

    def next_batch(self) -> Any:
        batch = super().next_batch()
        first = self.last.stop
        self.last = slice(first, first + 12 + int.from_bytes(self.fetched[first + 8 : first + 12]))
        return batch


fetcher.MemoryRecords = _Fetched  # the fetcher takes no class of its own to keep the bytes


class _Begun(NamedTuple):
    """A batch that went beyond a limit, and how many of its records are read."""

    batch: KafkaBatch | OldBatch
    read: int
    next_offset: int


class _Taken(NamedTuple):
    """`records` of all that are in `batches`."""

    at: TopicPartition
    batches: list[KafkaBatch | OldBatch]
    records: slice

    @property
    def size(self) -> int:
        return len(range(*self.records.indices(sum(batch.size for batch in self.batches))))


class FetchedRecords:
    """What a consumer has fetched and nobody has taken yet."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._fetcher = consumer._fetcher
        self._begun: WeakKeyDictionary[FetchResult, _Begun] = WeakKeyDictionary()
        """By the fetch that it is of: a partition that is lost leaves nothing behind."""
        self._layouts = HeaderLayouts()
        self._being_read: _Taken | None = None

    def being_read(self, at: TopicPartition) -> int:
        """How many records of the partition `take` has taken and not yet returned."""
        taken = self._being_read
        return taken.size if taken is not None and taken.at == at else 0

    async def take(self, wanted: Collection[KafkaPartition], limit: int, wait: float) -> Sequence[Record]:
        """Up to `limit` records of one partition; none after `wait` seconds without any. Raises KafkaError.

        While the group is being rebalanced it waits without a limit.
        """
        subscriptions = self._consumer._subscription
        deadline = asyncio.get_running_loop().time() + wait
        with subscriptions.fetch_context():
            while True:
                if self._fetcher._closed:
                    raise ConsumerStoppedError
                self._consumer._coordinator.check_errors()
                if subscriptions.reassignment_in_progress:
                    await subscriptions.wait_for_assignment()
                for partition in [each for each in self._fetcher._records if each in wanted]:
                    if taken := self._take(partition, limit):
                        self._being_read = taken
                        try:
                            return await self._read(taken)
                        finally:
                            self._being_read = None
                remaining = deadline - asyncio.get_running_loop().time()
                if remaining <= 0:
                    return []
                with suppress(TimeoutError):
                    # It raises what the group's coordinator cannot go on with.
                    await asyncio.wait_for(self._fetcher._create_fetch_waiter(), remaining)

    def _take(self, partition: KafkaPartition, limit: int) -> "_Taken | None":
        fetched = self._fetcher._records[partition]
        if type(fetched) is not FetchResult:
            self._done_with(partition)
            fetched.check_raise()
            return None
        begun = self._begun.pop(fetched, None)
        if not fetched.check_assignment(partition):
            self._done_with(partition)
            return None
        unread = fetched._partition_records
        unread._records_iterator = None  # unused here, it holds what was fetched until a collection
        batches: list[KafkaBatch | OldBatch] = []
        read = 0
        if begun is not None:
            batches, read, unread.next_fetch_offset = [begun.batch], begun.read, begun.next_offset
        count = sum(batch.size for batch in batches) - read
        while count < limit and unread._records.has_next():
            first = unread.next_fetch_offset
            batch = _next_batch(unread)
            if batch is None:
                continue
            if batch.base_offset < first:  # it may begin before what was asked for
                earlier = sum(record.offset < first for record in batch.records(partition))
                if batches:
                    raise CorruptRecordException(f"overlapping batches in {partition.topic}/{partition.partition}")
                read = earlier
                count -= earlier
            batches.append(batch)
            count += batch.size
        if count > limit:
            taken = batches[-1].size - (count - limit)
            self._begun[fetched] = _Begun(batches[-1], taken, unread.next_fetch_offset)
            unread.next_fetch_offset = batches[-1].records(partition)[taken - 1].offset + 1
        fetched._update_position()
        if fetched in self._begun or unread._records.has_next():
            self._fetcher._records.move_to_end(partition)  # the others have their turn first
        else:
            self._done_with(partition)
        return _Taken(TopicPartition(*partition), batches, slice(read, read + limit)) if count > 0 else None

    async def _read(self, taken: _Taken) -> Sequence[Record]:
        """Raises CorruptRecordException, after which what was taken is lost to this client."""
        at, batches, records = taken
        new = [batch for batch in batches if isinstance(batch, KafkaBatch)]
        checked = 0
        for batch in new:
            if not batch.is_whole():
                raise _corrupt(at)
            checked += len(batch.bytes)
            if checked > CHECKED_AT_ONCE:
                checked = 0
                await turn()
        if len(new) == len(batches) and sum(batch.size for batch in new) >= BY_COLUMNS:
            with suppress(Unusual):
                return (await in_turns(reading_columns(at, new, self._layouts)))[records]
        return [record for batch in batches for record in batch.records(at)][records]

    def _done_with(self, partition: KafkaPartition) -> None:
        """The next may be fetched."""
        del self._fetcher._records[partition]
        self._fetcher._notify(self._fetcher._wait_consume_future)


def _next_batch(unread: Any) -> KafkaBatch | OldBatch | None:
    """The next of Kafka's batches; None where it was aborted or is the broker's own. What is to be read by columns is
    checked then."""
    batch = unread._records.next_batch()
    unread.next_fetch_offset = batch.next_offset
    found = batch_in(unread._records.fetched, unread._records.last) if _is_wanted(unread, batch) else None
    if not isinstance(found, KafkaBatch) and not batch.validate_crc():
        raise _corrupt(unread._tp)
    return found


def _is_wanted(unread: Any, batch: Any) -> bool:
    if unread._isolation_level == READ_COMMITTED and batch.producer_id is not None:
        unread._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and unread._contains_abort_marker(batch):
            unread._aborted_producers.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in unread._aborted_producers:
            return False
    return not batch.is_control_batch


def _corrupt(at: tuple[str, int]) -> CorruptRecordException:
    topic, partition = at
    return CorruptRecordException(f"wrong checksum in {topic}/{partition}")
