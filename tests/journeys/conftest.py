"""The whole line for the journeys: on the embedded transport, on Kafka, or behind the gateway at BRANCHLINE_URL."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from services.line import Line, Transport, provision, running_line
from services.notification.settings import NotificationSettings, SmtpTls
from services.serving import Server, end_streams, listen
from shared.auth.demo_issuer import DemoIssuer
from shared.embedded_postgres import EmbeddedPostgres
from shared.events import TOPICS
from shared.events.corebanking import BusinessDayClosed, CoreBankingEvent
from shared.ids import new_id
from shared.keyring import AuditKeys
from shared.mail_sink import create_mail_app, smtp_sink
from shared.messaging.embedded import EmbeddedLog, EmbeddedSource
from shared.messaging.kafka import KafkaPublisher, KafkaSource, create_topics
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.records import Publisher
from shared.sealing.master_keys import LocalMasterKeys
from shared.settings import Environment, PlatformSettings
from tests.bank import NDJSON, branch, lines, manager_recorded
from tests.keys import MASTER_KEYS

T = TypeVar("T")

URL = os.environ.get("BRANCHLINE_URL")
WAYS = ["gateway"] if URL else ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)]
PARTITIONS = 4
DAYS = 30
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Bank:
    """A bank that uses the line: everything goes over HTTP, as it does for everybody.

    `line` and `publisher` are there when the line runs in this process.
    """

    url: str
    line: Line | None = None
    publisher: Publisher | None = None

    async def token(self, role: str, **whose: Any) -> str:
        async with httpx.AsyncClient(timeout=30) as http:
            answer = await http.post(f"{self.url}/demo/token", json={"role": role, **whose})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    @asynccontextmanager
    async def http(self, role: str, **whose: Any) -> AsyncIterator[httpx.AsyncClient]:
        """A client that speaks for somebody."""
        headers = {"Authorization": f"Bearer {await self.token(role, **whose)}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30) as client:
            yield client

    async def push(self, events: Sequence[CoreBankingEvent], *, ids: str, source: str = "journeys") -> dict[str, Any]:
        """What the core-banking boundary answers."""
        async with self.http("service", scopes=["corebanking:write"]) as http:
            answer = await http.post(
                "/api/customer/v1/core-banking/events", content=lines(events, ids=ids, source=source), headers=NDJSON
            )
        assert answer.status_code == 200, answer.text
        summary: dict[str, Any] = answer.json()
        return summary

    async def mails(self) -> list[dict[str, str]]:
        async with httpx.AsyncClient(headers={"Accept": "application/json"}) as http:
            answer = await http.get(f"{self.url}/demo/mails/")
        items: list[dict[str, str]] = answer.json()["items"]
        return items

    async def mail(self, url: str) -> str:
        async with httpx.AsyncClient() as http:
            return (await http.get(self.url + url)).text


async def eventually(look: Callable[[], Awaitable[T | None]], *, seconds: float = PATIENCE_SECONDS) -> T:
    """What `look` gives, as soon as it is something; fails with the last of it after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        seen = await look()
        if seen:
            return seen
        assert asyncio.get_running_loop().time() < deadline, f"after {seconds:.0f} s still {seen!r}"
        await asyncio.sleep(0.1)


def today() -> date:
    return datetime.now(UTC).date()


@pytest.fixture(scope="session", params=WAYS)
async def bank(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    """A bank of one branch and two managers, whose last DAYS are closed."""
    async with AsyncExitStack() as stack:
        if request.param == "gateway":
            assert URL is not None
            bank = Bank(URL)
        else:
            postgres: EmbeddedPostgres = request.getfixturevalue("postgres")
            kafka = request.getfixturevalue("kafka_bootstrap") if request.param == "kafka" else None
            folder = tmp_path_factory.mktemp("line")
            bank = await stack.enter_async_context(running_bank(postgres, folder, kafka))
        closed = [BusinessDayClosed(business_date=today() - timedelta(days=ago)) for ago in range(DAYS, 0, -1)]
        staff = [branch("J1"), branch("J2"), manager_recorded("JM1", "J1"), manager_recorded("JM2", "J2")]
        await bank.push([*staff, *closed], ids="bank")
        yield bank


@asynccontextmanager
async def running_bank(
    postgres: EmbeddedPostgres,
    folder: Path,
    kafka: str | None = None,
    *,
    audit_keys: AuditKeys | None = None,
    notification: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Bank]:
    """The line in this process, served on a port of its own; `settings` are the platform's, `notification` its own."""
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    platform = PlatformSettings(
        environment=Environment.DEMO,
        public_url=url,
        oidc_issuer=f"{url}/demo",
        jwks_url=f"{url}/demo/jwks.json",
        partitions=PARTITIONS,
        **{
            "rate_limit_per_second": 1_000,
            "rate_limit_burst": 1_000,
            "request_timeout_seconds": PATIENCE_SECONDS,
            **settings,
        },
    )
    issuer = DemoIssuer(
        environment=platform.environment,
        folder=folder,
        issuer=platform.oidc_issuer,
        audience=platform.oidc_audience,
    )
    prefix = f"line_{new_id().hex[-12:]}_"
    databases = await provision(postgres, prefix)
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(_transport(postgres, f"{prefix}log", kafka))
        smtp_port = await stack.enter_async_context(smtp_sink(environment=platform.environment, folder=folder))
        told = NotificationSettings(smtp_port=smtp_port, smtp_tls=SmtpTls.NONE, **(notification or {}))
        line = await stack.enter_async_context(
            running_line(
                platform,
                issuer,
                databases,
                transport,
                create_mail_app(folder),
                audit_keys=audit_keys or AuditKeys.generate(),
                master_keys=LocalMasterKeys(MASTER_KEYS),
                notification=told,
            )
        )
        server = Server(line.gateway, on_exit=lambda: None)
        serving = asyncio.ensure_future(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield Bank(url, line, transport.publisher)
        end_streams(*line.apps.values())
        server.should_exit = True
        await serving


@asynccontextmanager
async def _transport(postgres: EmbeddedPostgres, database: str, kafka: str | None) -> AsyncIterator[Transport]:
    if kafka is None:
        await asyncio.to_thread(postgres.provision, database, "log")
        log = EmbeddedLog(postgres.url("log", database))
        await log.start(TOPICS, PARTITIONS)
        yield Transport(log, lambda: EmbeddedSource(log))
        await log.close()
    else:
        await create_topics(KafkaConnection(kafka), TOPICS, PARTITIONS)
        publisher = KafkaPublisher(KafkaConnection(kafka))
        yield Transport(publisher, lambda: KafkaSource(KafkaConnection(kafka)))
        await publisher.close()
