"""What is watched: lag, the outbox, dead letters, and whether the consumer gets on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import psycopg
import pytest
from asgi_lifespan import LifespanManager
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery
from shared.events.customer import SurveyReported
from shared.keyring import AuditKeys
from shared.messaging.consumer import Consumer
from shared.messaging.monitor import Monitor, Stalled
from shared.sealing.master_keys import LocalMasterKeys
from shared.service import Platform, Service, build_app
from shared.settings import PlatformSettings
from shared.watchdog import Watchdog
from tests.harness import KnownTokens
from tests.keys import MASTER_KEYS
from tests.messaging.line import PARTITIONS, PATIENCE_SECONDS, Line, eventually, hearing, note, outgoing, sample, survey
from tests.messaging.test_dead_letters import failing_for


@asynccontextmanager
async def watching(
    line: Line, consumer: Consumer, monkeypatch: pytest.MonkeyPatch, stall_seconds: float = 60
) -> AsyncIterator[Monitor]:
    monkeypatch.setattr(Monitor, "LOOK_SECONDS", 0.05)
    monitor = Monitor("scoring", line.database, consumer, stall_seconds=stall_seconds)
    task = asyncio.ensure_future(monitor.run())
    yield monitor
    monitor.stop()
    await asyncio.wait_for(task, PATIENCE_SECONDS)


async def test_lag_is_told_by_partition_and_is_none_when_all_is_delivered(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = asyncio.Event()

    async def wait(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        await goes_on.wait()
        await note(session, deliveries)

    def lag() -> float:
        name, topic = "branchline_consumer_lag_events", SurveyReported.TOPIC
        return sum(sample(name, topic=topic, partition=str(partition)) for partition in range(PARTITIONS))

    await line.publish(*(survey(number) for number in range(50)))
    await line.relay()
    async with line.consuming(hearing(line.group, wait)) as running, watching(line, running.consumer, monkeypatch):
        await eventually(lambda: lag() == 50)
        goes_on.set()
        await eventually(lambda: lag() == 0)
    assert len(await line.numbers()) == 50


async def test_a_consumer_that_has_something_to_do_and_does_not_get_on_has_stalled(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = asyncio.Event()

    async def hang(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        await goes_on.wait()
        await note(session, deliveries)

    async with (
        line.relaying(),
        line.consuming(hearing(line.group, hang)) as running,
        watching(line, running.consumer, monkeypatch, stall_seconds=0.5) as monitor,
    ):
        await asyncio.sleep(1)
        await monitor.check()  # it has nothing to do
        await line.publish(survey(1))
        await eventually(lambda: is_stalled(monitor))
        goes_on.set()
        await line.until(1)
        await eventually(lambda: is_well(monitor))


async def test_a_consumer_that_waits_for_its_database_has_not_stalled(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def database_is_away(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        raise ConnectionError

    monkeypatch.setattr("shared.messaging.consumer.backoff", lambda: iter(lambda: 0.05, None))
    await line.publish(survey(1))
    async with (
        line.relaying(),
        line.consuming(hearing(line.group, database_is_away)) as running,
        watching(line, running.consumer, monkeypatch, stall_seconds=0.5) as monitor,
    ):
        await eventually(lambda: sample("branchline_deliveries_retried_total", topic=SurveyReported.TOPIC) > 20)
        await monitor.check()


async def test_a_consumer_whose_database_answers_and_refuses_has_stalled(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is no outage which ends by itself: somebody must look."""

    async def refuse(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        raise OperationalError("", None, psycopg.errors.LockNotAvailable())

    monkeypatch.setattr("shared.messaging.consumer.backoff", lambda: iter(lambda: 0.05, None))
    await line.publish(survey(1))
    async with (
        line.relaying(),
        line.consuming(hearing(line.group, refuse)) as running,
        watching(line, running.consumer, monkeypatch, stall_seconds=0.5) as monitor,
    ):
        await eventually(lambda: is_stalled(monitor))
    assert await line.letters() == []


async def test_the_outbox_and_dead_letters_are_counted(embedded: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    await embedded.send(outgoing(survey(1), ce_type=b"customer.of_tomorrow.v1"))
    await embedded.publish(survey(2), survey(3))
    async with (
        embedded.consuming(hearing(embedded.group, failing_for(2))) as running,
        watching(embedded, running.consumer, monkeypatch),
    ):
        await eventually(lambda: sample("branchline_outbox_events") == 2)
        await eventually(lambda: sample("branchline_outbox_oldest_seconds") > 0.1)
        await embedded.relay()
        await eventually(lambda: sample("branchline_outbox_events") == 0)
        await eventually(lambda: sample("branchline_outbox_oldest_seconds") == 0)
        for code in ("unknown_event_type", "handler_failed"):
            await eventually(lambda code=code: sample("branchline_dead_letters", code=code) == 1)  # type: ignore[misc] # the default binds the loop's value
        async with embedded.database.transaction() as session:
            await session.execute(text("delete from dead_letter"))
        await eventually(lambda: sample("branchline_dead_letters", code="handler_failed") == 0)


async def test_a_process_whose_consumer_has_stalled_is_unhealthy(
    embedded: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orchestrator restarts it, or its watchdog ends it; a dependency that is away only makes it not ready."""
    watchdog = Watchdog()
    fed: list[None] = []
    monkeypatch.setattr(watchdog, "feed", lambda: fed.append(None))
    monkeypatch.setattr(Monitor, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(Monitor.__init__, "__kwdefaults__", {"stall_seconds": 0.5})

    async def hang(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        await asyncio.Event().wait()

    service = Service("scoring", "Test", "", [], hearing(embedded.group, hang), None)
    platform = Platform(
        settings=PlatformSettings(),
        verifier=KnownTokens(),  # type: ignore[arg-type] # the same one method
        publisher=embedded.transport.publisher(),
        source=embedded.transport.source,
        audit_keys=AuditKeys.generate(),
        master_keys=LocalMasterKeys(MASTER_KEYS),
        drain_seconds=0.2,
        watchdog=watchdog,
    )
    app = build_app(service, embedded.database, platform)
    async with (
        LifespanManager(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://branchline.test") as http,
    ):
        assert (await http.get("/healthz")).status_code == 200
        await embedded.publish(survey(1))

        async def unhealthy() -> bool:
            return (await http.get("/healthz")).status_code == 503

        await eventually(lambda: len(fed) > 1)
        await eventually(unhealthy)
        fed.clear()
        await asyncio.sleep(0.3)
        assert fed == [], "though the monitor looks on"


async def is_stalled(monitor: Monitor) -> bool:
    try:
        await monitor.check()
    except Stalled:
        return True
    return False


async def is_well(monitor: Monitor) -> bool:
    return not await is_stalled(monitor)
