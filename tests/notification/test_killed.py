"""Killed at any moment and started again, the service has lost nothing and doubled nothing."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from shared.embedded_postgres import EmbeddedPostgres
from shared.events import TOPICS, Event, decode, encode
from shared.events.notification import TOPIC, AlertDelivered
from shared.ids import new_id
from shared.mail_sink import smtp_sink
from shared.messaging.embedded import EmbeddedLog
from shared.messaging.records import Outgoing, event_headers
from shared.settings import Environment
from tests.conftest import NewDatabase
from tests.notification.bank import alert_raised, customer_changed, eventually, manager_changed

ALERTS = 150
KILLS = 4
MOST_BETWEEN_KILLS = 30
PATIENCE_SECONDS = 60.0
"""With a start of a process, on a machine that has other work."""


def outgoing(events: Sequence[Event]) -> list[Outgoing]:
    now = datetime.now(UTC)
    return [
        Outgoing(event.TOPIC, event.key.encode(), encode(event), event_headers(new_id(), event.TYPE, now, None))
        for event in events
    ]


async def everything(log: EmbeddedLog) -> set[AlertDelivered]:
    """What the service has published; a relay that dies before it hears of its success sends the same event again."""
    async with log.engine.connect() as connection:
        records = await connection.execute(text("select value from record where topic = :topic"), {"topic": TOPIC})
        return {decode(AlertDelivered, bytes(value)) for (value,) in records}


@asynccontextmanager
async def running(program: Sequence[str]) -> AsyncIterator[None]:
    """Killed when the context ends; and ends by itself when this process lets go of the pipe, which even a kill makes
    it do."""
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*program, stdin=asyncio.subprocess.PIPE, stdout=nothing)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_service_that_is_killed_again_and_again_tells_every_alert_once(
    postgres: EmbeddedPostgres, new_database: NewDatabase, tmp_path: Path
) -> None:
    database = await new_database("notification")
    name = f"log_{new_id().hex}"
    await asyncio.to_thread(postgres.provision, name, "log")
    log = EmbeddedLog(postgres.url("log", name))
    await log.start(TOPICS)
    customers = [customer_changed(manager_id=f"M{number % 7}") for number in range(ALERTS)]
    # Alerts first: most wait for the customer or the manager.
    await log.send(outgoing([alert_raised(customer.customer_id) for customer in customers]))
    await log.send(outgoing([*customers, *(manager_changed(f"M{number}") for number in range(7))]))

    async with smtp_sink(environment=Environment.DEMO, folder=tmp_path) as port:
        urls = (database.jobs_url, database.requests.url.set(drivername="postgresql").render_as_string(False))
        program = (sys.executable, "-m", "tests.notification.process", *urls, postgres.url("log", name), str(port))

        def mails() -> int:
            return len(list(tmp_path.iterdir()))

        async def until_more_mails_than(count: int) -> None:
            await eventually(lambda: mails() > count, PATIENCE_SECONDS)

        for _ in range(KILLS):
            async with running(program):
                await until_more_mails_than(mails() + random.randrange(MOST_BETWEEN_KILLS))
            assert mails() < ALERTS, "it was killed in the middle"
        async with database.jobs.begin() as connection:
            # As if the leases of the dead had run out.
            await connection.exec_driver_sql("update delivery set due_at = now() where state = 'pending'")
        async with running(program):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(await everything(log)) < 2 * ALERTS:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1)
        assert mails() == ALERTS
    told = Counter((event.alert_id, event.channel) for event in await everything(log))
    assert len(told) == 2 * ALERTS
    assert set(told.values()) == {1}
    async with database.jobs.connect() as connection:
        count = await connection.exec_driver_sql("select count(*), count(distinct alert_id) from inbox_item")
        assert tuple(count.one()) == (ALERTS, ALERTS)
    await log.close()
