"""The consumer: each batch's offset, deduplication, effects and new events commit in one transaction.

The database is the commit point. What was committed is never delivered again, by the offset; what a
relay sent twice, by `delivered_event`. A record that cannot be delivered is parked alone; a database
or broker that is away is waited for; nothing is ever skipped.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Any, Protocol

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events import Delivery, Undecodable
from shared.messaging import metrics
from shared.messaging.dead_letters import Parked, park
from shared.messaging.faults import backoff, is_transient
from shared.messaging.positions import Fenced, advance, read_positions
from shared.messaging.records import Batch, Record, TopicPartition, read_event
from shared.messaging.subscriptions import Subscriptions

log = structlog.get_logger(__name__)

Positions = Callable[[Collection[TopicPartition]], Awaitable[dict[TopicPartition, int]]]


class Source(Protocol):
    """Where records come from: a log with topics, partitions and offsets."""

    async def start(self, group: str, topics: Sequence[str], positions: Positions) -> None:
        """Reads the topics; on assignment of partitions, begins at `positions`, or at the earliest record."""

    @property
    def cluster(self) -> str:
        """Which log this is; offsets mean nothing in another."""

    async def fetch(self, limit: int, wait: float) -> list[Batch]:
        """Up to `limit` records, one batch a partition; empty after `wait` seconds without any."""

    async def seek(self, at: TopicPartition, offset: int | None) -> None:
        """Reads the partition from `offset` on, or from its earliest record."""

    async def report_progress(self) -> None:
        """Tells the log's own lag tools where the consumer stands. Nothing reads it back."""

    async def stop(self) -> None:
        """Leaves the group."""


class Stopped(Exception):
    """So much would be parked that the fault is ours: a bad deploy, not bad data."""


class Consumer:
    """Delivers what `source` has to `subscriptions`, one batch at a time."""

    ATTEMPTS = 3  # of a record that fails alone, before it is parked
    REPORT_SECONDS = 5.0
    PARKED_IN_A_ROW = 100
    PARKED_SHARE, PARKED_WINDOW = 0.05, 10_000

    def __init__(
        self, service: str, database: Database, source: Source, subscriptions: Subscriptions, *, batch: int = 20_000
    ) -> None:
        self._service = service
        self._database = database
        self._source = source
        self._subscriptions = subscriptions
        self._batch = batch
        self._stopping = asyncio.Event()
        self._parked_in_a_row = 0
        self._recent: deque[bool] = deque(maxlen=self.PARKED_WINDOW)

    async def run(self) -> None:
        """Delivers until `stop`; raises Stopped or WrongLog when going on would do harm."""
        await self._until_it_works(self._start)
        reported_at = perf_counter()
        try:
            while not self._stopping.is_set():
                for batch in await self._until_it_works(self._fetch) or ():
                    if self._stopping.is_set():
                        break
                    await self.deliver(batch)
                if perf_counter() - reported_at > self.REPORT_SECONDS:
                    await self._source.report_progress()
                    reported_at = perf_counter()
        finally:
            await self._source.stop()

    def stop(self) -> None:
        """Finishes the transaction under way, then leaves."""
        self._stopping.set()

    async def deliver(self, batch: Batch) -> None:
        """Delivers a batch; returns when all of it is committed, delivered or parked, or another has the partition."""
        try:
            await self._deliver(batch.at, batch.expected, batch.records)
        except Fenced:
            metrics.FENCED.labels(self._service).inc()
            log.warning("delivery_fenced", topic=batch.at.topic, partition=batch.at.partition, offset=batch.expected)
            await self._until_it_works(lambda: self._return_to_position(batch.at))

    async def _deliver(self, at: TopicPartition, expected: int, records: Sequence[Record]) -> None:
        """One transaction, or, when an event of it fails, two halves of it: the failing one ends alone."""
        attempt = 1
        delays = backoff()
        while True:
            try:
                return await self._commit(at, expected, records)
            except (Fenced, Stopped):
                raise
            except Exception as fault:  # noqa: BLE001, RUF100 - whatever a handler raises is retried, then parked with its name
                metrics.REDELIVERED.labels(self._service, at.topic).inc()
                if is_transient(fault):
                    log.warning("delivery_waits", fault=type(fault).__name__, topic=at.topic)
                    if await self._sleep(next(delays)):
                        return None
                elif len(records) > 1:
                    middle = len(records) // 2
                    await self._deliver(at, expected, records[:middle])
                    return await self._deliver(at, records[middle - 1].offset + 1, records[middle:])
                elif attempt >= self.ATTEMPTS:
                    log.error("event_parked", fault=type(fault).__name__, topic=at.topic, offset=records[0].offset)
                    return await self._park_alone(at, expected, records[0], fault)
                else:
                    attempt += 1
                    if await self._sleep(next(delays)):
                        return None

    async def _commit(self, at: TopicPartition, expected: int, records: Sequence[Record]) -> None:
        began = perf_counter()
        async with self._database.transaction() as session:
            await advance(
                session, at, expected=expected, next_offset=records[-1].offset + 1, cluster=self._source.cluster
            )
            parked = await self._apply(session, at, records)
        self._count_parked(len(records), parked)
        metrics.CONSUMED.labels(self._service, at.topic).inc(len(records))
        metrics.BATCH_SIZE.labels(self._service).observe(len(records))
        metrics.DELIVERY_SECONDS.labels(self._service).observe(perf_counter() - began)

    async def _apply(self, session: AsyncSession, at: TopicPartition, records: Sequence[Record]) -> int:
        """Effects of a batch within its transaction; returns how many records it parked."""
        handle_records = self._subscriptions.record_handler(at.topic)
        if handle_records is not None:
            await handle_records(session, records)
            return 0
        deliveries: list[Delivery[Any]] = []
        parked: list[Parked] = []
        for record in records:
            try:
                deliveries.append(read_event(record))
            except Undecodable as fault:
                parked.append(Parked(record, fault.code, fault.detail))
                metrics.PARKED.labels(self._service, at.topic, fault.code).inc()
        await park(session, parked)
        heard = [delivery for delivery in deliveries if self._subscriptions.hears(delivery.event)]
        fresh = await deliver_once(session, heard)
        metrics.DUPLICATES.labels(self._service, at.topic).inc(len(heard) - len(fresh))
        for run in self._subscriptions.runs(fresh):
            await run.subscription.handler(session, run.deliveries)
        return len(parked)

    async def _park_alone(self, at: TopicPartition, expected: int, record: Record, fault: Exception) -> None:
        """The fault's name and place say enough: its text may quote the event."""
        parked = Parked(record, "handler_failed", f"{type(fault).__name__} in the handler of this event")
        async with self._database.transaction() as session:
            await advance(session, at, expected=expected, next_offset=record.offset + 1, cluster=self._source.cluster)
            await park(session, [parked])
        metrics.PARKED.labels(self._service, at.topic, parked.code).inc()
        self._count_parked(1, 1)

    def _count_parked(self, delivered: int, parked: int) -> None:
        self._parked_in_a_row = self._parked_in_a_row + parked if parked == delivered else 0
        self._recent.extend([True] * parked + [False] * (delivered - parked))
        full = len(self._recent) == self.PARKED_WINDOW
        if self._parked_in_a_row >= self.PARKED_IN_A_ROW or (
            full and sum(self._recent) > self.PARKED_SHARE * self.PARKED_WINDOW
        ):
            log.critical("subscription_stopped", parked_in_a_row=self._parked_in_a_row)
            raise Stopped("too many events were parked; the subscription stops rather than park them all")

    async def _start(self) -> None:
        await self._source.start(self._subscriptions.group, self._subscriptions.topics, self._positions)

    async def _fetch(self) -> list[Batch]:
        return await self._source.fetch(self._batch, 0.5)

    async def _positions(self, assigned: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Waits for the database: a source that got no answer here would begin anywhere."""

        async def read() -> dict[TopicPartition, int]:
            async with AsyncSession(self._database.jobs) as session:
                return await read_positions(session, assigned, self._source.cluster)

        positions: dict[TopicPartition, int] = await self._until_it_works(read) or {}
        return positions

    async def _return_to_position(self, at: TopicPartition) -> None:
        await self._source.seek(at, (await self._positions([at])).get(at))

    async def _until_it_works(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """A broker or database that is away is waited for; nothing is lost by waiting."""
        delays = backoff()
        while not self._stopping.is_set():
            try:
                return await step()
            except Exception as fault:
                if not is_transient(fault):
                    raise
                log.warning("consumer_waits", service=self._service, fault=type(fault).__name__)
                await self._sleep(next(delays))
        return None

    async def _sleep(self, seconds: float) -> bool:
        """True when it is time to stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()


_DELIVER_ONCE = text(
    "insert into delivered_event (event_id) select unnest(cast(:ids as uuid[]))"
    " on conflict do nothing returning event_id"
)


async def deliver_once(session: AsyncSession, deliveries: Sequence[Delivery[Any]]) -> list[Delivery[Any]]:
    """Those of the deliveries that were never delivered before, each once, in order."""
    if not deliveries:
        return []
    by_id = {delivery.id: delivery for delivery in reversed(deliveries)}
    fresh = set((await session.scalars(_DELIVER_ONCE, {"ids": sorted(by_id)})).all())
    return [delivery for delivery in deliveries if delivery.id in fresh and by_id[delivery.id] is delivery]
