"""A service's database: one engine for requests, one for deliveries and jobs.

Requests run as `<service>_api`, under row-level security; deliveries and jobs run as `<service>`,
the owner of the tables. Neither commits by itself: the request or the delivery owns the transaction.
"""

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from msgspec import structs
from sqlalchemy import MetaData, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from shared.audit.records import Outcome
from shared.audit.unattended import Recorder, access_of
from shared.messaging.outbox import OutboxSignal, write_outbox
from shared.sealing.data_keys import DATA_KEYS, DataKeys
from shared.spare_time import long_wait

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

SETTINGS = (
    "timezone=UTC",
    "lock_timeout=10s",
    # A process that hangs in a transaction would hold its partition's offset, and every relay's horizon, for ever.
    "idle_in_transaction_session_timeout=60s",
    # What a process holds that vanished with its machine, as a job's lock, is free in half a minute, and not in hours.
    "tcp_keepalives_idle=15",
    "tcp_keepalives_interval=5",
    "tcp_keepalives_count=3",
)

REQUESTS_SETTINGS = (
    # What row-level security lets through, and so the best plan, is another for each role: see shared/visibility.py.
    "plan_cache_mode=force_custom_plan",
)

UNIX_SEND_BYTES = 4 * 2**20  # what the system's default allows is less; TCP finds by itself how much it needs


def service_metadata() -> MetaData:
    """Metadata whose constraints have names, so that a migration can change them."""
    return MetaData(naming_convention=NAMING)


def _engine(url: str, pool_size: int, settings: Sequence[str]) -> AsyncEngine:
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_pre_ping=True,
        hide_parameters=True,  # what fails is logged, and parameters are customers' values
        connect_args={
            "connect_timeout": 5,
            # A server that vanished without a word is found out in half a minute, and not in hours.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "options": " ".join(f"-c {setting}" for setting in settings),
        },
    )
    event.listen(engine.sync_engine, "connect", _widen)
    return engine


def _widen(connection: Any, _: Any) -> None:
    """Lets PostgreSQL have more of a COPY at hand on a Unix socket, whose 208 KiB it has written in 3 ms.

    So it need not wait while this process makes something else ready.
    """
    with socket.socket(fileno=os.dup(connection.driver_connection.fileno())) as wire:
        if wire.family == socket.AF_UNIX:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_SEND_BYTES)


class Database:
    def __init__(self, jobs_url: str, requests_url: str, *, pool_size: int = 5) -> None:
        self.jobs_url = jobs_url
        self.jobs = _engine(jobs_url, pool_size, SETTINGS)
        self.requests = _engine(requests_url, pool_size, (*SETTINGS, *REQUESTS_SETTINGS))
        self.outbox_written = OutboxSignal()
        self.data_keys: DataKeys | None = None
        """What the service seals customers' values with; a service sets it where it is put together."""
        self.audit: Recorder | None = None
        """Who records the changes of deliveries and jobs; a service sets it where it is put together."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """One transaction of a delivery or a job: it is recorded, its events are written, then all of it commits."""
        async with AsyncSession(self.jobs, expire_on_commit=False, info={DATA_KEYS: self.data_keys}) as session:
            yield session
            access = access_of(self.audit.service, session) if self.audit else None
            wrote = await write_outbox(session)
            if self.audit and access:
                await self.audit.record(access)
            try:
                with long_wait():
                    await session.commit()
            except BaseException:
                if self.audit and access:
                    self.audit.submit(structs.replace(access, outcome=Outcome.UNDONE))
                raise
        if wrote:
            self.outbox_written.set()

    async def close(self) -> None:
        await self.jobs.dispose()
        await self.requests.dispose()
