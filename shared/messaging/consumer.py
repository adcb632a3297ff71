"""The consumer: each batch's offset, deduplication, effects and new events commit in one transaction.

The database is the commit point. What was committed is never delivered again, by the offset; what a
relay sent twice, by `delivered_event`. A record that cannot be delivered is parked alone; a database
or broker that is away is waited for; nothing is ever skipped.
"""

from asyncio import timeout
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic, perf_counter
from typing import Any, TypeVar

import structlog

from shared.audit.unattended import reach_delivered
from shared.database import Database
from shared.messaging import metrics
from shared.messaging.crash_points import CrashPoint, reached
from shared.messaging.dead_letters import failed, offsets_parked_in, park, parked_in
from shared.messaging.delivery import deliver_records
from shared.messaging.faults import Away, backoff, is_away, is_transient, name_of
from shared.messaging.parking_limit import ParkingLimit, Stopped
from shared.messaging.positions import Fenced, LogIdentity, advance, take_positions
from shared.messaging.records import Batch, Record, TopicPartition
from shared.messaging.source import Positions, Source
from shared.messaging.stopping import Interrupted, Stopping
from shared.messaging.subscriptions import Subscriptions
from shared.spare_time import SpareTime, use

__all__ = ["Consumer", "Positions", "Source"]

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Consumer:
    """Delivers what `source` has to `subscriptions`, one batch at a time."""

    ATTEMPTS = 3  # of a record that fails alone, before it is parked; of a batch that is refused, before it is halved
    ANSWER_SECONDS = 60.0  # of a transaction: who is silent for so long, on a connection half open, is asked anew
    SLOW_SECONDS = 5.0  # for a transaction: every relay of the database's cluster waits for it
    LEAST = 100  # records of a batch, however slow their handlers are
    FETCH_SECONDS = 0.5
    REPORT_SECONDS = 5.0

    def __init__(
        self,
        service: str,
        database: Database,
        source: Source,
        subscriptions: Subscriptions,
        *,
        batch: int = 20_000,
        limit: ParkingLimit | None = None,
    ) -> None:
        self._service = service
        self._database = database
        self._source = source
        self._subscriptions = subscriptions
        self._batch = self._most = batch
        self._limit = limit or ParkingLimit()
        self._stopping = Stopping()
        self._spare_time = SpareTime()
        self._positions: dict[TopicPartition, int] = {}
        self._undelivered: Counter[TopicPartition] = Counter()
        self._reported_at = monotonic()
        self.moved_at = monotonic()
        """When the consumer last got on, or last knew what it waits for."""

    async def run(self) -> None:
        """Delivers until `stop`; raises Stopped, WrongLog or OffsetOutOfRange when going on would do harm."""
        use(self._spare_time)
        try:
            await self._until_it_works(self._start)
            while True:
                batches = await self._until_it_works(self._fetch)
                self._undelivered = Counter({batch.at: len(batch.records) for batch in batches})
                for batch in batches:
                    await self.deliver(batch)
                await self._report_progress()
        except Interrupted:
            pass
        except Exception as fault:
            log.critical("subscription_stopped", service=self._service, fault=name_of(fault), detail=_telling(fault))
            raise
        finally:
            await self._source.stop()

    def stop(self) -> None:
        """Finishes the transaction under way, then leaves."""
        self._stopping.set()

    async def deliver(self, batch: Batch) -> None:
        """Delivers a batch; returns when all of it is committed, delivered or parked, or another has the partition."""
        reached(CrashPoint.FETCHED)
        try:
            with self._spare_time.only_in_long_waits():
                await self._deliver(batch)
        except Fenced:
            metrics.FENCED.labels(self._service).inc()
            log.warning("delivery_fenced", service=self._service, topic=batch.at.topic, partition=batch.at.partition)
            await self._until_it_works(lambda: self._source.return_to_position(batch.at))
        self._undelivered.pop(batch.at, None)
        reached(CrashPoint.DELIVERED)

    async def lag(self) -> dict[TopicPartition, int]:
        """How many records of each partition that is read here are not delivered. Raises Away."""
        unread = await self._source.unread()
        return {at: count + self._undelivered[at] for at, count in unread.items()}

    async def begin(
        self, earliest: Mapping[TopicPartition, int], logs: Mapping[str, LogIdentity]
    ) -> dict[TopicPartition, int]:
        """Where each partition goes on; one that was never read is written down to begin at its earliest offset."""
        async with timeout(self.ANSWER_SECONDS), self._database.transaction() as session:
            positions = await take_positions(session, earliest, logs)
        self._positions |= positions
        reached(CrashPoint.PARTITION_BEGUN)
        return positions

    async def prepare(self, records: Sequence[Record]) -> Any:
        """What the records' handler makes of them ahead; None where it makes nothing, or fails."""
        hot = self._subscriptions.for_records(records[0].topic)
        if hot is None or hot.prepare is None:
            return None
        try:
            return await hot.prepare(records)
        except Exception as fault:  # noqa: BLE001, RUF100 - it fails again in the delivery, which retries, halves and parks
            log.warning("preparing_fails", service=self._service, fault=name_of(fault))
            return None

    async def _deliver(self, batch: Batch) -> None:
        """One transaction, or, when a record of it fails, one for each half of it, until the failing one is alone.

        So it is halved, too, when the database answers and refuses it again and again, as one that takes too long.
        """
        at, expected, whole, prepared = batch
        left = [whole]
        failures: list[Exception] = []
        refused = 0
        delays = backoff()
        while left:
            part = left[0]
            fault = failures[-1] if len(failures) >= self.ATTEMPTS else None
            try:
                await self._commit(at, expected, part, fault, prepared if part is whole else None)
            except (Fenced, Stopped, Interrupted):
                raise
            except Exception as raised:  # noqa: BLE001, RUF100 - whatever a handler raises is retried, then parked with its name
                metrics.REDELIVERED.labels(self._service, at.topic).inc()
                if is_transient(raised):
                    self._note_waiting("delivery_waits", raised)
                    refused = 0 if is_away(raised) else refused + 1
                elif fault is None:
                    failures.append(raised)
                else:
                    log.error("parking_fails", service=self._service, fault=name_of(raised), exc_info=True)
                if len(part) > 1 and (failures or refused >= self.ATTEMPTS):
                    middle = len(part) // 2
                    left[:1] = [part[:middle], part[middle:]]
                    failures.clear()
                    refused = 0
                else:
                    await self._sleep(next(delays))
            else:
                expected = part[-1].offset + 1
                left.pop(0)
                failures.clear()
                refused = 0
                delays = backoff()

    async def _commit(
        self, at: TopicPartition, expected: int, records: Sequence[Record], fault: Exception | None, prepared: Any
    ) -> None:
        """Delivers the records, of which `prepared` was made, in one transaction; with `fault`, parks them."""
        if self._stopping.is_set:
            raise Interrupted
        began = perf_counter()
        duplicates = 0
        async with timeout(self.ANSWER_SECONDS), self._database.transaction() as session:
            reach_delivered(session, at, records)
            await advance(session, at, expected=expected, next_offset=records[-1].offset + 1)
            reached(CrashPoint.OFFSET_ADVANCED)
            if fault is None:
                duplicates = await deliver_records(session, self._subscriptions, at.topic, records, prepared)
            else:
                await park(session, [failed(record, fault) for record in records])
            reached(CrashPoint.EFFECTS_WRITTEN)
            parked = parked_in(session)
            indexes = _indexes(records, offsets_parked_in(session))
            self._limit.check(indexes, len(records))
        reached(CrashPoint.COMMITTED)
        self._limit.count(indexes, len(records))
        self._positions[at] = records[-1].offset + 1
        self._undelivered[at] -= len(records)
        self.moved_at = monotonic()
        for letter in parked:
            metrics.PARKED.labels(self._service, at.topic, letter.code).inc()
            log.error("event_parked", service=self._service, code=letter.code, detail=letter.detail, **at._asdict())
        seconds = perf_counter() - began
        self._fit_batch(len(records), seconds)
        metrics.CONSUMED.labels(self._service, at.topic).inc(len(records))
        metrics.DUPLICATES.labels(self._service, at.topic).inc(duplicates)
        metrics.BATCH_SIZE.labels(self._service).observe(len(records))
        metrics.DELIVERY_SECONDS.labels(self._service).observe(seconds)

    def _fit_batch(self, size: int, seconds: float) -> None:
        """Halves the batches while a transaction takes too long, and lets them grow again."""
        if seconds > self.SLOW_SECONDS:
            self._batch = max(min(self.LEAST, self._most), min(size, self._batch) // 2)
        elif seconds < self.SLOW_SECONDS / 4:
            self._batch = min(self._most, self._batch * 2)

    async def _start(self) -> None:
        await self._source.start(self._subscriptions.group, self._subscriptions.topics, self.begin, self.prepare)

    async def _fetch(self) -> list[Batch]:
        return await self._source.fetch(self._batch, self.FETCH_SECONDS)

    async def _report_progress(self) -> None:
        if monotonic() - self._reported_at > self.REPORT_SECONDS:
            self._reported_at = monotonic()
            try:
                await self._stopping.unless(self._source.report_progress(self._positions))
                reached(CrashPoint.PROGRESS_REPORTED)
            except Away as fault:
                log.info("progress_not_reported", service=self._service, fault=name_of(fault))

    async def _until_it_works(self, step: Callable[[], Awaitable[T]]) -> T:
        """A broker or database that is away is waited for; nothing is lost by waiting. Raises Interrupted."""

        async def take() -> T:
            return await step()

        delays = backoff()
        while True:
            try:
                return await self._stopping.unless(take())
            except Exception as fault:
                if not is_transient(fault):
                    raise
                self._note_waiting("consumer_waits", fault)
                await self._sleep(next(delays))

    def _note_waiting(self, event: str, fault: Exception) -> None:
        if is_away(fault):  # who is only refused must get on some day, or has stalled
            self.moved_at = monotonic()
        log.warning(event, service=self._service, fault=name_of(fault))

    async def _sleep(self, seconds: float) -> None:
        """Raises Interrupted when it is time to stop."""
        await self._stopping.sleep(seconds)
        if self._stopping.is_set:
            raise Interrupted


def _indexes(records: Sequence[Record], offsets: set[int]) -> list[int]:
    return [index for index, record in enumerate(records) if record.offset in offsets] if offsets else []


def _telling(fault: Exception) -> str | None:
    """The text of our own faults, which quote no event."""
    return str(fault) if type(fault).__module__.startswith("shared.") else None
