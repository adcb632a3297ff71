"""What a service is made of, and how it runs: its API, its consumer, its relay and its jobs in one process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from sqlalchemy import text

from shared.audit.checkpoints import EVERY_SECONDS, note_heads
from shared.audit.retention import make_partitions
from shared.audit.unattended import working_at
from shared.audit.writer import AuditWriter
from shared.auth.tokens import TokenVerifier
from shared.clock import Clock, system_clock
from shared.database import Database
from shared.jobs import forget_unattributed, forget_what_is_past
from shared.keyring import AuditKeys
from shared.messaging import metrics
from shared.messaging.consumer import Consumer, Source
from shared.messaging.monitor import Monitor
from shared.messaging.parking_limit import ParkingLimit
from shared.messaging.records import Publisher
from shared.messaging.relay import Relay
from shared.messaging.subscriptions import Subscriptions
from shared.sealing.data_keys import DataKeys
from shared.sealing.master_keys import MasterKeys
from shared.sealing.rotation import MasterKeyCheck
from shared.settings import PlatformSettings
from shared.watchdog import Watchdog
from shared.web.app import create_api
from shared.web.audit_log import audit_router
from shared.web.dead_letters import dead_letters_router

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Job:
    """Something done every so often, by one replica at a time."""

    name: str
    every_seconds: float
    run: Callable[[Database], Awaitable[None]]


@dataclass(frozen=True)
class Service:
    """A service as its `app.py` composes it."""

    name: str
    title: str
    description: str
    routers: Sequence[APIRouter]
    subscriptions: Subscriptions
    settings: Any
    jobs: Sequence[Job] = ()

    @property
    def all_routers(self) -> list[APIRouter]:
        """Its own, and what every service has."""
        return [*self.routers, dead_letters_router(self.subscriptions), audit_router()]


@dataclass(frozen=True)
class Platform:
    """What the process gives each service that runs in it."""

    settings: PlatformSettings
    verifier: TokenVerifier
    publisher: Publisher
    source: Callable[[], Source]
    audit_keys: AuditKeys
    master_keys: MasterKeys
    clock: Clock = system_clock
    drain_seconds: float = 10.0
    watchdog: Watchdog | None = None
    """None where nobody would start the process again."""


@dataclass
class Background:
    """The tasks of a running service. One that fails is an alarm and makes the process unhealthy."""

    service: str
    failed: str | None = None
    monitor: Monitor | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, name: str, work: Awaitable[None]) -> None:
        self.tasks.append(asyncio.ensure_future(self._watch(name, work)))

    async def _watch(self, name: str, work: Awaitable[None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as fault:  # noqa: BLE001, RUF100 - whatever ends a task is an alarm
            self.failed = name
            metrics.BACKGROUND_FAILURES.labels(self.service, name).inc()
            log.critical(
                "background_task_failed", service=self.service, task=name, fault=type(fault).__name__, exc_info=True
            )

    async def check(self) -> None:
        """Raises for readiness when a task has ended that should not have."""
        if self.failed:
            raise RuntimeError(f"{self.failed} has stopped")

    async def check_progress(self) -> None:
        """Raises for liveness when the consumer has stalled."""
        if self.monitor is not None:
            await self.monitor.check()

    async def stop(self, seconds: float) -> None:
        """Lets every task finish what it has begun; cancels what takes longer."""
        if self.tasks:
            _done, late = await asyncio.wait(self.tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def build_app(service: Service, database: Database, platform: Platform, *, background: bool = True) -> FastAPI:
    """The service as an ASGI application. Its lifespan runs the consumer, the relay and the jobs."""

    tasks = Background(service.name)
    audit = AuditWriter(service.name, database.requests.url, platform.audit_keys, platform.clock)
    database.audit = audit
    database.data_keys = DataKeys(platform.master_keys)
    opening = MasterKeyCheck(platform.master_keys)

    async def check_master_keys() -> None:
        async with database.transaction() as session:
            await opening.check(session)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stopping: asyncio.Event = app.state.stopping
        limit = ParkingLimit(enforced=platform.settings.parking_limit)
        consumer = Consumer(service.name, database, platform.source(), service.subscriptions, limit=limit)
        relay = Relay(service.name, database, platform.publisher)
        monitor = tasks.monitor = Monitor(service.name, database, consumer, watchdog=platform.watchdog)
        if background:
            tasks.start("relay", relay.run())
            if service.subscriptions.topics:
                tasks.start("consumer", consumer.run())
            tasks.start("monitor", monitor.run())
            if platform.watchdog is not None:
                platform.watchdog.start()
            forget = Job("forget", 600.0, lambda database: forget_what_is_past(database, platform.clock))
            days = platform.settings.forget_unattributed_days
            expire = Job("expire", 3_600.0, lambda database: forget_unattributed(database, platform.clock, days))
            for job in (*service.jobs, forget, expire, *audit_jobs(service.name, database, audit, platform.clock)):
                tasks.start(job.name, run_job(service.name, job, database, stopping))
        try:
            yield
        finally:
            stopping.set()
            consumer.stop()
            relay.stop()
            monitor.stop()
            await tasks.stop(platform.drain_seconds)
            await audit.close()
            await database.close()
            if platform.watchdog is not None:
                platform.watchdog.stop()

    return create_api(
        service_name=service.name,
        title=service.title,
        version=version("branchline"),
        description=service.description,
        routers=service.all_routers,
        settings=platform.settings,
        database=database,
        verifier=platform.verifier,
        audit=audit,
        clock=platform.clock,
        checks={"background": tasks.check, "master_keys": check_master_keys},
        vital={"deliveries": tasks.check_progress},
        lifespan=lifespan,
    )


def audit_jobs(service: str, database: Database, audit: AuditWriter, clock: Clock) -> list[Job]:
    """What keeps the audit in order."""

    async def note(_: Database) -> None:
        await note_heads(database.jobs_url, service, audit, clock())

    async def make(_: Database) -> None:
        await make_partitions(database.jobs_url, clock())

    return [Job("audit_checkpoint", EVERY_SECONDS, note), Job("audit_partitions", 86_400.0, make)]


async def run_job(service: str, job: Job, database: Database, stopping: asyncio.Event) -> None:
    """Runs the job until `stopping`; a run that fails is logged and tried again at the next turn."""
    while not stopping.is_set():
        try:
            async with database.jobs.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                lock = {"name": f"{service}:{job.name}"}
                if await connection.scalar(text("select pg_try_advisory_lock(hashtextextended(:name, 0))"), lock):
                    try:
                        with working_at(job.name):
                            await job.run(database)
                    finally:
                        await connection.execute(text("select pg_advisory_unlock(hashtextextended(:name, 0))"), lock)
        except Exception as fault:  # noqa: BLE001, RUF100 - the next turn tries again; the log has the alarm
            log.error("job_failed", service=service, job=job.name, fault=type(fault).__name__, exc_info=True)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), job.every_seconds)
