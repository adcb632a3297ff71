"""One service under test: its real application, database and consumer; events in and out without a broker."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

import httpx
from asgi_lifespan import LifespanManager
from sqlalchemy import text

from shared.auth.principal import Principal, Role
from shared.database import Database
from shared.events import EVENT_TYPES, Event, decode, encode
from shared.ids import new_id
from shared.keyring import AuditKeys
from shared.messaging.consumer import Consumer, Positions
from shared.messaging.partitioning import partition_of
from shared.messaging.positions import LogIdentity
from shared.messaging.records import Batch, Outgoing, Record, TopicPartition, event_headers
from shared.messaging.source import Prepare, unprepared
from shared.sealing.master_keys import LocalMasterKeys
from shared.service import Platform, Service, build_app
from shared.settings import PlatformSettings
from tests.keys import MASTER_KEYS

E = TypeVar("E", bound=Event)

PARTITIONS = 4


class KnownTokens:
    """Stands for the identity provider: a token is the name of its principal."""

    def __init__(self) -> None:
        self._principals: dict[str, Principal] = {}

    def token(self, principal: Principal) -> str:
        token = new_id().hex
        self._principals[token] = principal
        return token

    async def verify(self, token: str) -> Principal:
        return self._principals[token]


class NoBroker:
    """Source and publisher of a service whose events the test carries."""

    async def start(
        self, group: str, topics: Sequence[str], positions: Positions, prepare: Prepare = unprepared
    ) -> None: ...

    async def fetch(self, limit: int, wait: float) -> list[Batch]:
        return []

    async def return_to_position(self, at: TopicPartition) -> None: ...

    async def unread(self) -> dict[TopicPartition, int]:
        return {}

    async def report_progress(self, positions: Mapping[TopicPartition, int]) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, records: list[Outgoing]) -> None:
        raise AssertionError("no relay runs in this test")

    async def close(self) -> None: ...


class ServiceUnderTest:
    def __init__(self, service: Service, database: Database, app: Any, tokens: KnownTokens) -> None:
        self.service = service
        self.database = database
        self.app = app
        self._tokens = tokens
        self._offsets: dict[TopicPartition, int] = defaultdict(int)
        self._consumer = Consumer(service.name, database, NoBroker(), service.subscriptions)

    def token(self, principal: Principal) -> str:
        return self._tokens.token(principal)

    def http(self, principal: Principal) -> httpx.AsyncClient:
        """A client that speaks for `principal`, below /api/<service>/v1."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app, raise_app_exceptions=False),
            base_url=f"http://branchline.test/api/{self.service.name}/v1",
            headers={"Authorization": f"Bearer {self.token(principal)}"},
        )

    async def deliver(
        self,
        events: Sequence[Event],
        *,
        ids: Sequence[UUID] | None = None,
        occurred_at: datetime | None = None,
        partition: int | None = None,
        parked: int = 0,
    ) -> list[UUID]:
        """Delivers the events in order, as their topics' partitions would bring them; returns their ids.

        The same ids again are a redelivery by the relay. Fails unless exactly `parked` of them were parked.
        """
        event_ids = list(ids) if ids is not None else [new_id() for _ in events]
        at_once: dict[TopicPartition, list[Record]] = {}
        now = occurred_at or datetime.now(UTC)
        for event_id, event in zip(event_ids, events, strict=True):
            chosen = partition if partition is not None else partition_of(event.key.encode(), PARTITIONS)
            at = TopicPartition(event.TOPIC, chosen)
            records = at_once.setdefault(at, [])
            offset = self._offsets[at] + len(records)
            headers = event_headers(event_id, event.TYPE, now, None)
            records.append(Record(*at, offset, event.key.encode(), encode(event), headers))
        before = await self.count("dead_letter")
        log = LogIdentity("test")
        await self._consumer.begin(dict.fromkeys(at_once, 0), {at.topic: log for at in at_once})
        for at, records in at_once.items():
            await self._consumer.deliver(Batch(at, self._offsets[at], records))
            self._offsets[at] += len(records)
        now_parked = await self.count("dead_letter") - before
        if now_parked != parked:
            letters = await self.rows("select type, code, detail from dead_letter order by parked_at")
            raise AssertionError(f"{now_parked} events were parked, not {parked}: {letters}")
        return event_ids

    async def published(self, event_type: type[E]) -> list[E]:
        """The events of one type that are in the outbox, in order."""
        rows = await self.rows("select type, payload from outbox where type = :type order by id", type=event_type.TYPE)
        return [decode(event_type, bytes(payload)) for _type, payload in rows]

    async def published_types(self) -> list[type[Event]]:
        return [EVENT_TYPES[name] for (name,) in await self.rows("select type from outbox order by id")]

    async def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows as the tables' owner sees them."""
        return await rows_as_owner(self.database, query, **parameters)

    async def count(self, table: str) -> int:
        return int((await self.rows(f"select count(*) from {table}"))[0][0])


async def rows_as_owner(database: Database, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Rows as the tables' owner sees them."""
    async with database.jobs.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query), parameters)]


@asynccontextmanager
async def under_test(
    service: Service, database: Database, *, audit_keys: AuditKeys | None = None, **settings: Any
) -> AsyncIterator[ServiceUnderTest]:
    """Runs the service without its background tasks: the test delivers, and calls the jobs that it wants done."""
    tokens = KnownTokens()
    broker = NoBroker()
    platform = Platform(
        settings=PlatformSettings(
            rate_limit_per_second=10_000,
            rate_limit_burst=10_000,
            address_limit_per_second=10_000,
            address_limit_burst=10_000,
            request_timeout_seconds=60,
            **settings,
        ),
        verifier=tokens,  # type: ignore[arg-type] # the same one method
        publisher=broker,
        source=lambda: broker,
        audit_keys=audit_keys or AuditKeys.generate(),
        master_keys=LocalMasterKeys(MASTER_KEYS),
    )
    app = build_app(service, database, platform, background=False)
    async with LifespanManager(app):
        yield ServiceUnderTest(service, database, app, tokens)


def manager(staff_id: str = "M1", branch_id: str = "B1") -> Principal:
    return Principal(subject=staff_id, role=Role.MANAGER, staff_id=staff_id, branch_id=branch_id)


def branch_head(branch_id: str = "B1", staff_id: str = "H1") -> Principal:
    return Principal(subject=staff_id, role=Role.BRANCH_HEAD, staff_id=staff_id, branch_id=branch_id)


def head_office(staff_id: str = "HO1") -> Principal:
    return Principal(subject=staff_id, role=Role.HEAD_OFFICE, staff_id=staff_id)


def operator() -> Principal:
    return Principal(subject="OP1", role=Role.OPERATOR)


def auditor() -> Principal:
    return Principal(subject="AU1", role=Role.AUDITOR, staff_id="AU1")


def program(*scopes: str) -> Principal:
    return Principal(subject="core-banking", role=Role.SERVICE, scopes=frozenset(scopes))
