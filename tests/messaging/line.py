"""A publisher and a consumer over a real database and a real log, and what the consumer's handlers did."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events import Delivery, Event, encode
from shared.events.corebanking import LifeEventKind
from shared.events.customer import DayClosed, LifeEventReported, SurveyReported
from shared.ids import new_id
from shared.messaging.consumer import Consumer, Source
from shared.messaging.outbox import publish
from shared.messaging.parking_limit import ParkingLimit
from shared.messaging.positions import LogIdentity
from shared.messaging.records import Outgoing, Publisher, Record, TopicPartition, event_headers
from shared.messaging.relay import Relay
from shared.messaging.subscriptions import Handler, Subscriptions

T = TypeVar("T")

PARTITIONS = 4
PATIENCE_SECONDS = 40.0


class Effect(NamedTuple):
    """What the handler did for one event. `number` is a survey's score, and -1 for any other event."""

    customer_id: UUID | None
    number: int
    partition: int


@dataclass(frozen=True)
class Transport:
    publisher: Callable[[], Publisher]
    source: Callable[[], Source]


@dataclass
class Running:
    """A consumer that runs, and the task that ends with it."""

    consumer: Consumer
    task: "asyncio.Task[None]"

    async def stop(self) -> None:
        self.consumer.stop()
        await asyncio.wait_for(self.task, PATIENCE_SECONDS)


def survey(number: int, customer_id: UUID | None = None) -> SurveyReported:
    """The number tells events apart."""
    return SurveyReported(
        customer_id=customer_id or new_id(),
        survey_id=new_id(),
        answered_at=datetime(2026, 11, 24, tzinfo=UTC),
        score=number,
    )


def life_event(customer_id: UUID | None = None) -> LifeEventReported:
    return LifeEventReported(
        customer_id=customer_id or new_id(),
        life_event_id=new_id(),
        kind=LifeEventKind.MOVE,
        happened_on=date(2026, 11, 24),
    )


def outgoing(event: Event, event_id: UUID | None = None, **headers: bytes | None) -> Outgoing:
    """A record as it goes to a log; `headers` replace its own, or with None take them out."""
    own = dict(event_headers(event_id or new_id(), event.TYPE, datetime.now(UTC), None)) | headers
    kept = tuple((name, value) for name, value in own.items() if value is not None)
    return Outgoing(event.TOPIC, event.key.encode(), encode(event), kept)


async def note(session: AsyncSession, deliveries: Sequence[Delivery[Any]]) -> None:
    """Does something that shows when it is done twice."""
    rows = [
        {
            "customer": getattr(delivery.event, "customer_id", None),
            "number": getattr(delivery.event, "score", -1),
            "partition": delivery.partition,
        }
        for delivery in deliveries
    ]
    await session.execute(
        text("insert into effect (customer_id, number, partition) values (:customer, :number, :partition)"), rows
    )


def hearing(group: str, surveys: Handler[SurveyReported] = note, **options: bool) -> Subscriptions:
    """Subscriptions to all that the tests publish."""
    subscriptions = Subscriptions(group)
    subscriptions.on(SurveyReported, surveys, **options)
    subscriptions.on(LifeEventReported, note)
    subscriptions.on(DayClosed, note)
    return subscriptions


@dataclass
class Line:
    database: Database
    transport: Transport
    group: str = field(default_factory=lambda: f"test-{new_id().hex}")

    async def publish(self, *events: Event, partition: int | None = None) -> None:
        """In one transaction, in order, through the outbox."""
        async with self.database.transaction() as session:
            for event in events:
                publish(session, event, partition=partition)

    async def send(self, *records: Outgoing) -> None:
        """Straight to the log."""
        await self.transport.publisher().send(list(records))

    @asynccontextmanager
    async def relaying(self, publisher: Publisher | None = None, **options: Any) -> AsyncIterator[None]:
        relay = Relay("scoring", self.database, publisher or self.transport.publisher(), **options)
        task = asyncio.ensure_future(relay.run())
        try:
            yield
        finally:
            relay.stop()
            await asyncio.wait_for(task, PATIENCE_SECONDS)

    async def relay(self) -> None:
        """Sends all that is in the outbox."""
        async with self.relaying():
            await eventually(self.outbox_is_empty)

    @asynccontextmanager
    async def consuming(
        self,
        subscriptions: Subscriptions | None = None,
        *,
        source: Source | None = None,
        limit: ParkingLimit | None = None,
        batch: int = 20_000,
    ) -> AsyncIterator[Running]:
        """Runs a consumer; fails when it ended by itself."""
        heard = subscriptions or hearing(self.group)
        heard.group = self.group
        consumer = Consumer(
            "scoring", self.database, source or self.transport.source(), heard, limit=limit, batch=batch
        )
        running = Running(consumer, asyncio.ensure_future(consumer.run()))
        try:
            yield running
        finally:
            await running.stop()

    async def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self.database.jobs.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(query), parameters)]

    async def outbox_is_empty(self) -> bool:
        return await self.rows("select count(*) from outbox") == [(0,)]

    async def effects(self) -> list[Effect]:
        """In the order in which they happened."""
        return [
            Effect(*row) for row in await self.rows("select customer_id, number, partition from effect order by id")
        ]

    async def numbers(self) -> list[int]:
        return [effect.number for effect in await self.effects()]

    async def letters(self) -> list[str]:
        """The codes of the dead letters, as they were parked."""
        return [code for (code,) in await self.rows("select code from dead_letter order by parked_at, id")]

    async def offsets(self) -> dict[int, int]:
        """Where the consumer stands, by partition."""
        rows = await self.rows("select partition, next_offset from consumer_offset order by partition")
        return {partition: offset for partition, offset in rows if offset}

    async def has_delivered(self, count: int) -> bool:
        """Whether the consumer's offsets have moved by so many records."""
        return sum((await self.offsets()).values()) >= count

    async def until(self, count: int) -> list[int]:
        """The numbers of the effects, once there are `count` of them."""

        async def enough() -> bool:
            return len(await self.numbers()) >= count

        await eventually(enough)
        return await self.numbers()

    async def log(self, topic: str) -> list[Record]:
        """All that the log has of a topic, by partition."""
        source = self.transport.source()
        await source.start(f"reader-{new_id().hex}", [topic], earliest_positions)
        records: list[Record] = []
        try:
            while True:
                batches = await source.fetch(20_000, 0.2)
                records += [record for batch in batches for record in batch.records]
                if not batches and not any((await source.unread() or {TopicPartition(topic, 0): 1}).values()):
                    return sorted(records, key=lambda record: (record.partition, record.offset))
        finally:
            await source.stop()


async def earliest_positions(
    earliest: Mapping[TopicPartition, int], _: Mapping[str, LogIdentity]
) -> dict[TopicPartition, int]:
    return dict(earliest)


async def eventually(holds: Callable[[], Awaitable[bool] | bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        held = holds()
        if held if isinstance(held, bool) else await held:
            return
        assert asyncio.get_running_loop().time() < deadline, f"not so after {seconds:.0f} s"
        await asyncio.sleep(0.02)


def sample(name: str, **labels: str) -> float:
    """What Prometheus would be told now."""
    return REGISTRY.get_sample_value(name, {"service": "scoring", **labels}) or 0.0
