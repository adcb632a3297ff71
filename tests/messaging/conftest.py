"""Every rule of the event core holds on both logs: `line` comes once on the embedded one and once on a real Kafka."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from shared.embedded_postgres import EmbeddedPostgres
from shared.events import Event
from shared.events.customer import DayClosed, LifeEventReported, SurveyReported
from shared.ids import new_id
from shared.messaging.embedded import EmbeddedLog, EmbeddedSource
from shared.messaging.kafka import KafkaPublisher, KafkaSource, create_topics
from shared.messaging.kafka_connection import KafkaConnection
from tests.conftest import NewDatabase
from tests.messaging.line import PARTITIONS, Line, Transport

FACTS: tuple[type[Event], ...] = (SurveyReported, LifeEventReported, DayClosed)
BOTH = ["embedded", pytest.param("kafka", marks=pytest.mark.kafka)]


@pytest.fixture(autouse=True)
def topic(monkeypatch: pytest.MonkeyPatch) -> str:
    """The topic of all that the test publishes: its own, for the broker is shared."""
    name = f"test-{new_id().hex}"
    for fact in FACTS:
        monkeypatch.setattr(fact, "TOPIC", name)
    return name


@pytest.fixture(params=BOTH)
async def line(
    request: pytest.FixtureRequest, topic: str, postgres: EmbeddedPostgres, new_database: NewDatabase
) -> AsyncIterator[Line]:
    if request.param == "kafka":
        made = kafka_transport(request.getfixturevalue("kafka_bootstrap"), topic)
    else:
        made = embedded_transport(postgres, topic)
    async with made as transport:
        yield await a_line(transport, new_database)


@pytest.fixture
async def embedded(topic: str, postgres: EmbeddedPostgres, new_database: NewDatabase) -> AsyncIterator[Line]:
    """A line on the embedded log, for what has nothing to do with where records come from."""
    async with embedded_transport(postgres, topic) as transport:
        yield await a_line(transport, new_database)


@pytest.fixture
async def on_kafka(topic: str, kafka_bootstrap: str, new_database: NewDatabase) -> AsyncIterator[Line]:
    """A line on Kafka, for what only Kafka has."""
    async with kafka_transport(kafka_bootstrap, topic) as transport:
        yield await a_line(transport, new_database)


async def a_line(transport: Transport, new_database: NewDatabase) -> Line:
    database = await new_database("scoring")
    async with database.jobs.begin() as connection:
        await connection.execute(
            text(
                "create table effect (id bigint generated always as identity primary key, customer_id uuid,"
                " number integer not null, partition integer not null)"
            )
        )
    return Line(database, transport)


@asynccontextmanager
async def embedded_transport(postgres: EmbeddedPostgres, topic: str) -> AsyncIterator[Transport]:
    name = f"log_{new_id().hex}"
    await asyncio.to_thread(postgres.provision, name, "log")
    log = EmbeddedLog(postgres.url("log", name))
    await log.start([topic], PARTITIONS)
    yield Transport(lambda: log, lambda: EmbeddedSource(log))
    await log.close()


@asynccontextmanager
async def kafka_transport(bootstrap: str, topic: str) -> AsyncIterator[Transport]:
    await create_topics(KafkaConnection(bootstrap), [topic], PARTITIONS)
    publisher = KafkaPublisher(KafkaConnection(bootstrap))
    yield Transport(lambda: publisher, source_of(bootstrap))
    await publisher.close()


def source_of(bootstrap: str) -> Callable[[], KafkaSource]:
    return lambda: KafkaSource(KafkaConnection(bootstrap))
