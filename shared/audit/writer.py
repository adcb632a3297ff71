"""The one writer of a process: gathers the rows of concurrent requests and extends its own chain by them.

Whoever records waits until the row is committed. Rows that come while a batch is being written are the next batch: with
many requests one commit keeps many rows, and with one it waits for nobody. No writer waits for another's chain.

What cannot be confirmed ends the chain: the answer to a commit may be lost, and then nobody knows its last row. The
batch is written once more into a new chain, which begins with the last row of the old one that is known. At worst an
access is in both: it is never in none.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import structlog
from sqlalchemy.engine import URL

from shared.audit.checkpoints import ExportEnd, Head, sign_checkpoint, sign_export_end
from shared.audit.metrics import BATCHES, ROWS, UNRECORDED
from shared.audit.records import (
    COLUMNS,
    Access,
    ChainOpening,
    canonical,
    opening_mac,
    own_access,
    position,
    row_mac,
    row_of,
)
from shared.clock import Clock, system_clock
from shared.ids import new_id
from shared.keyring import AuditKeys
from shared.messaging.faults import Away

log = structlog.get_logger(__name__)

MOST_ROWS = 1_000
"""Of one batch."""
WRITE_SECONDS = 3.0
"""For a batch, a second attempt included; a request is given up after five."""
TICK = timedelta(microseconds=1)

_TEXT = "text"
_TYPES = {
    "chain_id": "uuid",
    "sequence": "bigint",
    "at": "timestamptz",
    "status": "smallint",
    "customer_ids": "uuid[]",
    "customer_count": "integer",
    "mac": "bytea",
}
_NAMES = ", ".join((*COLUMNS, "mac"))
_INSERT_ROWS = (
    f"insert into audit_record ({_NAMES}) select {_NAMES} from json_to_recordset(%s::json)"  # noqa: S608 - our names
    f" as row ({', '.join(f'{name} {_TYPES.get(name, _TEXT)}' for name in (*COLUMNS, 'mac'))})"
)
_INSERT_CHAIN = "insert into audit_chain (chain_id, key_id, process, started_at, mac) values (%s, %s, %s, %s, %s)"


class AuditAway(Away):
    """The access could not be recorded: it must not happen."""


class _Chain:
    """The end of the chain that this process writes."""

    def __init__(self, service: str, key_id: str, key: bytes, now: datetime) -> None:
        self.key = key
        process = f"{socket.gethostname()}:{os.getpid()}"
        self.opening = ChainOpening(service=service, chain_id=new_id(), key_id=key_id, process=process, started_at=now)
        self.opening_mac = self.mac = opening_mac(key, self.opening)
        self.sequence = 0
        self.at = now

    def extend(self, accesses: Sequence[Access], now: datetime) -> tuple[bytes, bytes, int, datetime]:
        """The rows as JSON, and the end that the chain has once they are committed."""
        mac, sequence, at = self.mac, self.sequence, self.at
        rows = []
        for access in accesses:
            sequence += 1
            at = max(now, at + TICK)
            row = canonical(row_of(access, self.opening.chain_id, sequence, at))
            mac = row_mac(self.key, mac, row)
            rows.append(row[:-1] + b',"mac":"\\\\x' + mac.hex().encode() + b'"}')
        return b"[" + b",".join(rows) + b"]", mac, sequence, at


class AuditWriter:
    """Records accesses to one service's records. `url` is the requests' role's, which may add rows and nothing else."""

    def __init__(self, service: str, url: URL | str, keys: AuditKeys, clock: Clock = system_clock) -> None:
        self.service = service
        self._url = (
            url.set(drivername="postgresql").render_as_string(hide_password=False) if isinstance(url, URL) else url
        )
        self._keys = keys
        self._clock = clock
        self._waiting: list[tuple[Access, asyncio.Future[None]]] = []
        self._arrived = asyncio.Event()
        self._closing = False
        self._connection: psycopg.AsyncConnection[tuple[object, ...]] | None = None
        self._chain: _Chain | None = None
        self._after = ""
        self._running: asyncio.Task[None] | None = None

    def submit(self, access: Access) -> asyncio.Future[None]:
        """Gives the access to the next batch; the future ends when that is committed, or with AuditAway."""
        recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        recorded.add_done_callback(_retrieve)
        if self._closing:
            recorded.set_exception(AuditAway("the audit has ended"))
            return recorded
        self._waiting.append((access, recorded))
        self._arrived.set()
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return recorded

    async def record(self, *accesses: Access) -> None:
        """Returns when all of them are committed. Raises AuditAway."""
        for recorded in [self.submit(access) for access in accesses]:
            await asyncio.shield(recorded)

    def end_export(self, rows: int, digest: str, heads: Sequence[Head]) -> ExportEnd:
        """The last line of an export of rows of the chains that now end with `heads`."""
        checkpoint = sign_checkpoint(self._keys, self.service, self._clock(), heads)
        return sign_export_end(self._keys, rows, digest, checkpoint)

    async def close(self) -> None:
        """Writes what waits, and the row that ends the chain: what is cut off a chain that has none is not noticed
        without a checkpoint."""
        if self._running is not None:
            if self._chain is not None:
                self.submit(own_access(self.service, "audit.close", f"chain/{self._chain.opening.chain_id}"))
            self._closing = True
            self._arrived.set()
            await self._running
        self._closing = True
        await self._disconnect()

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            await self._arrived.wait()
            batch, self._waiting = self._waiting[:MOST_ROWS], self._waiting[MOST_ROWS:]
            if not self._waiting and not self._closing:
                self._arrived.clear()
            if batch:
                await self._keep(batch)

    async def _keep(self, batch: Sequence[tuple[Access, asyncio.Future[None]]]) -> None:
        fault: BaseException | None = None
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                for attempt in (1, 2):
                    try:
                        await self._write([access for access, _ in batch])
                        break
                    except (psycopg.Error, OSError) as raised:
                        await self._abandon()
                        if attempt == 2 or not _is_cut_off(raised):
                            raise
                        log.warning("audit_chain_abandoned", service=self.service, fault=type(raised).__name__)
        except (psycopg.Error, OSError) as raised:  # TimeoutError is an OSError
            fault = raised
            await self._abandon()
            UNRECORDED.labels(self.service).inc(len(batch))
            log.critical("audit_unavailable", service=self.service, rows=len(batch), exc_info=raised)
        except BaseException as raised:
            fault = raised
            raise
        finally:
            for _, recorded in batch:
                if recorded.done():
                    continue
                if fault is None:
                    recorded.set_result(None)
                else:
                    recorded.set_exception(AuditAway("the audit cannot be written"))

    async def _write(self, accesses: list[Access]) -> None:
        connection = self._connection or await self._connect()
        if self._chain is None:
            await self._begin(connection)
        chain = self._chain
        assert chain is not None  # _begin made it
        rows, mac, sequence, at = chain.extend(accesses, self._clock())
        await connection.execute(_INSERT_ROWS, [rows.decode()])
        chain.mac, chain.sequence, chain.at = mac, sequence, at
        BATCHES.labels(self.service).inc()
        ROWS.labels(self.service).inc(len(accesses))

    async def _begin(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        """A new chain and its first row, in one transaction."""
        current = self._keys.current
        chain = _Chain(self.service, current, self._keys.keys[current], self._clock().astimezone(UTC))
        rows, mac, sequence, at = chain.extend(
            [own_access(self.service, "audit.open", self._after or "process")], self._clock()
        )
        opening = chain.opening
        async with connection.transaction():
            values = [opening.chain_id, opening.key_id, opening.process, opening.started_at, chain.opening_mac]
            await connection.execute(_INSERT_CHAIN, values)
            await connection.execute(_INSERT_ROWS, [rows.decode()])
        chain.mac, chain.sequence, chain.at = mac, sequence, at
        self._chain = chain

    async def _connect(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        self._connection = await psycopg.AsyncConnection.connect(
            self._url,
            autocommit=True,
            connect_timeout=2,
            application_name="branchline-audit",
            options="-c timezone=UTC -c statement_timeout=2s -c lock_timeout=2s",
        )
        return self._connection

    async def _abandon(self) -> None:
        """Leaves the chain as it is known: the next one names its last row."""
        if self._chain is not None:
            self._after = position(self._chain.opening.chain_id, self._chain.sequence, self._chain.mac)
            self._chain = None
        await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _is_cut_off(fault: Exception) -> bool:
    """Whether it was the connection: a new one may do, where a lock or a want of rights would be there again."""
    sqlstate = getattr(fault, "sqlstate", None)
    return sqlstate is None or sqlstate[:2] == "08" or sqlstate[:3] == "57P"


def _retrieve(recorded: asyncio.Future[None]) -> None:
    """Whoever does not wait still has it in the log."""
    if not recorded.cancelled():
        recorded.exception()
