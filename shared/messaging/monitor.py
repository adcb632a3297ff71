"""What is watched of a service's messages: gauges for Prometheus, and a watchdog over its consumer.

A consumer that has records to read and does not get on, though it waits for nobody, has stalled: its
client, or a connection that nobody answers on. The process is then unhealthy, and its watchdog is fed no more.
"""

import asyncio
from time import monotonic

import structlog
from sqlalchemy import text

from shared.database import Database
from shared.messaging import metrics
from shared.messaging.consumer import Consumer
from shared.messaging.faults import name_of
from shared.messaging.records import TopicPartition
from shared.messaging.stopping import Stopping
from shared.watchdog import Watchdog

log = structlog.get_logger(__name__)

_OUTBOX = text(
    "select (select count(*) from outbox) as waiting, (select extract(epoch from clock_timestamp() - written_at)"
    " from outbox order by id limit 1) as oldest_seconds"
)
_DEAD_LETTERS = text("select code, count(*) as letters from dead_letter group by code")


class Stalled(Exception):
    """There are records to deliver and none is delivered."""


class Monitor:
    LOOK_SECONDS = 5.0
    LOOK_TIMEOUT_SECONDS = 10.0

    def __init__(
        self,
        service: str,
        database: Database,
        consumer: Consumer,
        *,
        stall_seconds: float = 300.0,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._service = service
        self._database = database
        self._consumer = consumer
        self._stall_seconds = stall_seconds
        self._watchdog = watchdog
        self._stalled = False
        self._codes: set[str] = set()
        self._read_here: set[TopicPartition] = set()
        self._stopping = Stopping()

    async def run(self) -> None:
        """Looks until `stop`. What cannot be seen, as when database or broker are away, is left as it was."""
        while not self._stopping.is_set:
            for look in (self._look_at_consumer, self._look_at_database):
                try:
                    async with asyncio.timeout(self.LOOK_TIMEOUT_SECONDS):
                        await look()
                except Exception as fault:  # noqa: BLE001, RUF100 - who watches does not end; the next look may see
                    log.info("not_seen", service=self._service, fault=name_of(fault))
            if self._watchdog is not None and not self._stalled:
                self._watchdog.feed()
            await self._stopping.sleep(self.LOOK_SECONDS)

    def stop(self) -> None:
        self._stopping.set()

    async def check(self) -> None:
        """Raises Stalled; what `/healthz` asks."""
        if self._stalled:
            raise Stalled(f"nothing was delivered for {self._stall_seconds:.0f} s, and there is something to deliver")

    async def _look_at_consumer(self) -> None:
        lag = await self._consumer.lag()
        for at, count in lag.items():
            metrics.LAG.labels(self._service, at.topic, str(at.partition)).set(count)
        for at in self._read_here - lag.keys():  # another replica tells of it now
            metrics.LAG.remove(self._service, at.topic, str(at.partition))
        self._read_here = set(lag)
        if not any(lag.values()):
            self._consumer.moved_at = monotonic()
        stalled = monotonic() - self._consumer.moved_at > self._stall_seconds
        if stalled and not self._stalled:
            log.critical("consumer_stalled", service=self._service, lag=sum(lag.values()))
        self._stalled = stalled

    async def _look_at_database(self) -> None:
        async with self._database.jobs.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            outbox = (await connection.execute(_OUTBOX)).one()
            letters = {str(row.code): row.letters for row in await connection.execute(_DEAD_LETTERS)}
        metrics.OUTBOX_EVENTS.labels(self._service).set(outbox.waiting)
        metrics.OUTBOX_OLDEST_SECONDS.labels(self._service).set(outbox.oldest_seconds or 0)
        self._codes |= letters.keys()
        for code in self._codes:
            metrics.DEAD_LETTERS.labels(self._service, code).set(letters.get(code, 0))
