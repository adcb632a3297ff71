"""The relay: sends the outbox in order, at least once. What it sends twice, consumers deduplicate.

One relay at a time per database, held by an advisory lock. It reads only rows whose transaction is
below the snapshot's xmin: an identity column's order is not the commit order, and a row that commits
late would else be passed by. And it stops at the first row that is not: transaction ids are not the
order of the outbox either, so a row beyond may be about the same customer.
"""

import asyncio
from contextlib import suppress

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.database import Database
from shared.messaging.crash_points import CrashPoint, reached
from shared.messaging.faults import backoff, is_transient, name_of
from shared.messaging.metrics import RELAYED
from shared.messaging.records import NotSent, Outgoing, Publisher, event_headers
from shared.messaging.stopping import Interrupted, Stopping

log = structlog.get_logger(__name__)

_LOCK = 0x6272_6C72  # "brlr": one relay per database
_READ = text(
    "select id, event_id, type, topic, key, partition, payload, occurred_at, traceparent from"
    " (select *, bool_and(xid < pg_snapshot_xmin(pg_current_snapshot())) over up_to as settled,"
    " sum(octet_length(payload)) over up_to - octet_length(payload) as bytes_before"
    " from (select * from outbox order by id limit :limit) as oldest window up_to as (order by id)) as read"
    " where settled and bytes_before < :bytes order by id"
)
_DELETE = text("delete from outbox where id = any(:ids)")


class Relay:
    MOST_BYTES = 16 * 2**20  # of payloads in hand, and one event's at the least
    STANDBY_SECONDS = 1.0  # between attempts to take over from the relay that sends
    LOOK_SECONDS = 0.2  # between looks for what other processes wrote
    ANSWER_SECONDS = 30.0  # of the database: who is silent for so long, on a connection half open, is asked anew
    SILENT_SECONDS = 120  # until the database ends a relay that it does not hear of: its lock would keep all others out
    GRACE_SECONDS = 3.0  # for what is being sent when it is time to stop

    def __init__(self, service: str, database: Database, publisher: Publisher, *, batch: int = 2_000) -> None:
        self._service = service
        self._database = database
        self._publisher = publisher
        self._batch = batch
        self._stopping = Stopping()
        self._delays = backoff()

    async def run(self) -> None:
        """Relays until `stop`. Whatever goes wrong, it waits and tries again: nothing may be left out."""
        while not self._stopping.is_set:
            try:
                await self._lead()
            except Interrupted:
                return
            except Exception as fault:  # noqa: BLE001, RUF100 - the events stay where they are; logs and their age alarm
                if isinstance(fault, NotSent) or is_transient(fault):
                    log.warning("relay_waits", service=self._service, fault=name_of(fault))
                else:
                    log.error("relay_fails", service=self._service, fault=name_of(fault), exc_info=True)
                await self._stopping.sleep(next(self._delays))

    def stop(self) -> None:
        """Finishes what is being sent, if it is quick; what is not sent yet stays in the outbox."""
        self._stopping.set()
        self._database.outbox_written.set()

    async def _lead(self) -> None:
        async with asyncio.timeout(self.ANSWER_SECONDS) as patience, self._database.jobs.connect() as connection:
            try:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await connection.execute(text(f"set idle_session_timeout = '{self.SILENT_SECONDS}s'"))
                leads = await connection.scalar(text("select pg_try_advisory_lock(:lock)"), {"lock": _LOCK})
                patience.reschedule(None)
                if not leads:
                    await self._stopping.sleep(self.STANDBY_SECONDS)
                    return
                reached(CrashPoint.LEADING)
                while not self._stopping.is_set:
                    if await self.relay_once(connection) == 0:
                        await self._wait_for_news()
                await connection.execute(text("select pg_advisory_unlock(:lock)"), {"lock": _LOCK})
            except BaseException:
                await connection.invalidate()  # the lock ends with the connection, in whatever state that is
                raise

    async def relay_once(self, connection: AsyncConnection) -> int:
        """Sends and deletes one batch; returns how many it was."""
        async with asyncio.timeout(self.ANSWER_SECONDS):
            rows = (await connection.execute(_READ, {"limit": self._batch, "bytes": self.MOST_BYTES})).all()
        if not rows:
            return 0
        reached(CrashPoint.OUTBOX_READ)
        outgoing = [
            Outgoing(
                topic, key.encode(), payload, event_headers(event_id, type_name, occurred_at, traceparent), partition
            )
            for _, event_id, type_name, topic, key, partition, payload, occurred_at, traceparent in rows
        ]
        await self._stopping.unless(self._publisher.send(outgoing), grace=self.GRACE_SECONDS)
        reached(CrashPoint.SENT)
        async with asyncio.timeout(self.ANSWER_SECONDS):
            await connection.execute(_DELETE, {"ids": [row.id for row in rows]})
        reached(CrashPoint.DELETED)
        self._delays = backoff()
        RELAYED.labels(self._service).inc(len(rows))
        return len(rows)

    async def _wait_for_news(self) -> None:
        """Waits for this process to write, or a moment: another replica may have written, or a row not be readable."""
        signal = self._database.outbox_written
        with suppress(TimeoutError):
            await asyncio.wait_for(signal.wait(), self.LOOK_SECONDS)
            signal.clear()
            await asyncio.sleep(0.01)
