"""Databases and brokers go away and come back: nothing is restarted, lost, doubled or parked."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres
from shared.messaging import relay
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import KafkaPublisher, create_topics
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.records import NotSent, Outgoing, Publisher
from tests.conftest import NewDatabase
from tests.kafka_broker import KafkaBroker
from tests.messaging.conftest import a_line, kafka_transport
from tests.messaging.line import PARTITIONS, Line, eventually, survey
from tests.torture.proxy import FaultProxy

LOAD = 600


@pytest.fixture
async def mortal(
    topic: str, kafka_broker: KafkaBroker, new_database: NewDatabase
) -> AsyncIterator[tuple[Line, KafkaBroker]]:
    """A line on a broker of its own, which the test kills."""
    async with kafka_transport(kafka_broker.bootstrap, topic) as transport:
        yield await a_line(transport, new_database), kafka_broker


async def load(line: Line) -> None:
    for first in range(0, LOAD, 20):
        await line.publish(*(survey(number) for number in range(first, first + 20)))
        await asyncio.sleep(0.05)


async def nothing_is_lost_doubled_or_parked(line: Line) -> None:
    await line.until(LOAD)
    await asyncio.sleep(0.3)
    assert Counter(await line.numbers()) == Counter(range(LOAD))
    assert await line.letters() == []
    await eventually(line.outbox_is_empty)  # a relay that was turned away waits before it looks again


@pytest.mark.kafka
async def test_a_broker_that_is_killed_under_load_loses_and_doubles_nothing(mortal: tuple[Line, KafkaBroker]) -> None:
    line, broker = mortal
    async with line.relaying(batch=50), line.consuming(batch=50):
        loading = asyncio.ensure_future(load(line))
        for _ in range(2):
            await line.until(len(await line.numbers()) + 40)
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(random.uniform(0.2, 1.0))
            await asyncio.to_thread(broker.start)
        await loading
        await nothing_is_lost_doubled_or_parked(line)


@pytest.mark.kafka
async def test_a_broker_that_is_away_at_the_start_is_waited_for(mortal: tuple[Line, KafkaBroker]) -> None:
    line, broker = mortal
    await asyncio.to_thread(broker.kill)
    await line.publish(*(survey(number) for number in range(10)))
    async with line.relaying(), line.consuming() as running:
        await asyncio.sleep(1)
        assert not running.task.done()
        await asyncio.to_thread(broker.start)
        assert Counter(await line.until(10)) == Counter(range(10))


@pytest.mark.kafka
async def test_a_process_whose_broker_is_away_ends_when_it_is_told_to(mortal: tuple[Line, KafkaBroker]) -> None:
    """Within the grace period, though a producer would wait for its broker for ever."""
    line, broker = mortal
    publisher = KafkaPublisher(KafkaConnection(broker.bootstrap))
    async with line.relaying(publisher), line.consuming():
        await line.publish(survey(1))
        await line.until(1)
        await asyncio.to_thread(broker.kill)
        await line.publish(survey(2))
        await asyncio.sleep(0.5)
        began = asyncio.get_running_loop().time()
    await publisher.close()
    assert asyncio.get_running_loop().time() - began < 20
    assert not await line.outbox_is_empty(), "it is sent when there is a broker again"


@pytest.mark.kafka
async def test_a_topic_that_is_not_there_yet_is_waited_for(
    kafka_bootstrap: str, topic: str, new_database: NewDatabase
) -> None:
    async with kafka_transport(kafka_bootstrap, f"{topic}-other") as transport:
        line = await a_line(transport, new_database)
        await line.publish(survey(1))
        async with line.relaying(), line.consuming():
            await asyncio.sleep(1)
            await create_topics(KafkaConnection(kafka_bootstrap), [topic], PARTITIONS)
            assert await line.until(1) == [1]


async def test_a_relay_that_gets_on_again_has_forgotten_how_long_it_waited(
    embedded: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One outage a day would else make it wait ten seconds at each, in the end."""
    waits: list[int] = []

    def counted() -> Iterator[float]:
        for attempt in itertools.count():
            waits.append(attempt)
            yield 0.01

    class FailingAtTimes(Publisher):
        sends = 0

        async def send(self, records: list[Outgoing]) -> None:
            self.sends += 1
            if self.sends % 3:
                raise NotSent
            await embedded.transport.publisher().send(records)

        async def close(self) -> None: ...

    monkeypatch.setattr(relay, "backoff", counted)
    async with embedded.relaying(FailingAtTimes(), batch=10):
        await embedded.publish(*(survey(number) for number in range(30)))
        await eventually(embedded.outbox_is_empty)
    assert waits == [0, 1] * 3


async def test_a_log_whose_connections_are_cut_under_load_loses_and_doubles_nothing(
    embedded: Line, postgres: EmbeddedPostgres
) -> None:
    """What the embedded log has in the place of a broker that is killed."""
    name = embedded.transport.source()._log.engine.url.database  # type: ignore[attr-defined] # the log is behind the protocol
    async with embedded.relaying(batch=50), embedded.consuming(batch=50):
        loading = asyncio.ensure_future(load(embedded))
        while not loading.done():
            await asyncio.sleep(random.uniform(0.05, 0.3))
            await asyncio.to_thread(cut_off, postgres, name)
        await nothing_is_lost_doubled_or_parked(embedded)


async def test_a_database_that_goes_away_and_comes_back_is_survived(line: Line, postgres: EmbeddedPostgres) -> None:
    name = str(line.database.jobs.url.database)
    await line.publish(*(survey(number) for number in range(LOAD)))
    async with line.relaying(batch=20), line.consuming(batch=20) as running:
        for _ in range(3):
            await line.until(len(await line.numbers()) + 30)
            async with closed(postgres, name):
                await asyncio.sleep(random.uniform(0.3, 1.0))
                assert not running.task.done()
        await nothing_is_lost_doubled_or_parked(line)


async def test_a_database_that_does_not_answer_any_more_is_asked_anew(
    embedded: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall has forgotten the connections: nobody says so, and new ones work."""
    monkeypatch.setattr(Consumer, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(relay.Relay, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(relay.Relay, "SILENT_SECONDS", 3)
    url = embedded.database.jobs.url
    proxy = FaultProxy(Path(str(url.query["host"])) / ".s.PGSQL.5432")
    proxy.start()
    way = url.set(query={}, host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    behind = replace(embedded, database=Database(way, way, pool_size=1))
    try:
        async with behind.relaying(), behind.consuming() as running:
            await embedded.publish(*(survey(number) for number in range(20)))
            await embedded.until(20)
            assert proxy.leave_half_open() > 0
            await embedded.publish(*(survey(number) for number in range(20, 40)))
            await embedded.until(40)
            assert not running.task.done()
    finally:
        await behind.database.close()
        proxy.stop()
    assert Counter(await embedded.numbers()) == Counter(range(40))
    assert await embedded.letters() == []


async def test_a_database_that_is_slow_when_partitions_are_assigned_is_waited_for(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the log's client would begin anywhere, or give up for it has nowhere to begin."""
    begin = Consumer.begin

    async def begin_slowly(consumer: Consumer, *whereof: object) -> object:
        await asyncio.sleep(2)
        return await begin(consumer, *whereof)  # type: ignore[arg-type] # passes on whatever it was given

    monkeypatch.setattr(Consumer, "begin", begin_slowly)
    await line.publish(*(survey(number) for number in range(10)))
    async with line.relaying(), line.consuming() as running:
        assert Counter(await line.until(10)) == Counter(range(10))
        assert not running.task.done()


def cut_off(postgres: EmbeddedPostgres, database: str) -> None:
    with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [database])


@asynccontextmanager
async def closed(postgres: EmbeddedPostgres, database: str) -> AsyncIterator[None]:
    """Nobody gets in meanwhile, and who was in is out."""

    def let(allowed: bool) -> None:
        with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as connection:
            connection.execute("update pg_database set datallowconn = %s where datname = %s", [allowed, database])

    await asyncio.to_thread(let, False)
    await asyncio.to_thread(cut_off, postgres, database)
    try:
        yield
    finally:
        await asyncio.to_thread(let, True)
