"""Records out of aiokafka's fetched buffers, by its own parser in C but without an object of its own for each.

aiokafka's `getmany` makes of each record a dataclass, in three layers of Python: of 6 µs a record, 4 were spent there.
What it does besides is done here as well: errors, moved positions, checksums, aborted transactions (KIP-98).
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException

from shared.messaging.records import Record

_new = tuple.__new__  # a named tuple's own constructor costs three times as much


class _Begun(NamedTuple):
    """What of a batch of Kafka's went beyond a limit, the fetch that it is of, and the offset after the batch."""

    fetched: Any
    records: list[Record]
    next_offset: int


class FetchedRecords:
    """What a consumer has fetched and nobody has taken yet."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._fetcher = consumer._fetcher
        self._begun: dict[KafkaPartition, _Begun] = {}

    async def take(self, wanted: Collection[KafkaPartition], limit: int, wait: float) -> list[Record]:
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
                    if records := self._take(partition, limit):
                        return records
                remaining = deadline - asyncio.get_running_loop().time()
                if remaining <= 0:
                    return []
                with suppress(TimeoutError):
                    # It raises what the group's coordinator cannot go on with.
                    await asyncio.wait_for(self._fetcher._create_fetch_waiter(), remaining)

    def _take(self, partition: KafkaPartition, limit: int) -> list[Record]:
        fetched = self._fetcher._records[partition]
        if type(fetched) is not FetchResult:
            self._done_with(partition)
            fetched.check_raise()
            return []
        begun = self._begun.pop(partition, None)
        if not fetched.check_assignment(partition):
            self._done_with(partition)
            return []
        unread = fetched._partition_records
        records: list[Record] = []
        if begun is not None and begun.fetched is fetched:
            records, unread.next_fetch_offset = begun.records, begun.next_offset
        while len(records) < limit and unread._records.has_next():
            records += _next_batch(unread)
        if len(records) > limit:
            self._begun[partition] = _Begun(fetched, records[limit:], unread.next_fetch_offset)
            records = records[:limit]
            unread.next_fetch_offset = records[-1].offset + 1
        fetched._update_position()
        if partition in self._begun or unread._records.has_next():
            self._fetcher._records.move_to_end(partition)  # the others have their turn first
        else:
            self._done_with(partition)
        return records

    def _done_with(self, partition: KafkaPartition) -> None:
        """The next may be fetched."""
        del self._fetcher._records[partition]
        self._fetcher._notify(self._fetcher._wait_consume_future)


def _next_batch(unread: Any) -> list[Record]:
    """The records of the next of Kafka's batches, none where it was aborted or is the broker's own."""
    topic, partition = unread._tp
    batch = unread._records.next_batch()
    if unread._check_crcs and not batch.validate_crc():
        raise CorruptRecordException(f"wrong checksum in {topic}/{partition}")
    first, unread.next_fetch_offset = unread.next_fetch_offset, batch.next_offset
    if unread._isolation_level == READ_COMMITTED and batch.producer_id is not None:
        unread._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and unread._contains_abort_marker(batch):
            unread._aborted_producers.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in unread._aborted_producers:
            return []
    if batch.is_control_batch:
        return []
    records = [_new(Record, (topic, partition, each.offset, each.key, each.value, each.headers)) for each in batch]
    # A batch may begin before what was asked for.
    return records if batch.base_offset >= first else [record for record in records if record.offset >= first]
