"""A process that consumes and relays, and meets its fate where it was told to; forked from one with all imports."""

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import NamedTuple

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Database
from shared.events import Delivery
from shared.events.customer import DayClosed, LifeEventReported, SurveyReported
from shared.ids import new_id
from shared.messaging.consumer import Consumer
from shared.messaging.crash_points import CrashPoint, arm
from shared.messaging.embedded import EmbeddedLog, EmbeddedSource
from shared.messaging.kafka import KafkaPublisher, KafkaSource
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.outbox import publish
from shared.messaging.records import Publisher
from shared.messaging.relay import Relay
from shared.messaging.source import Source
from shared.messaging.subscriptions import Subscriptions
from shared.sealing.data_keys import DataKeys
from shared.sealing.master_keys import LocalMasterKeys
from tests.keys import MASTER_KEYS
from tests.messaging.line import PARTITIONS, life_event, note

FORKS = ForkServerContext()
FORKS.set_forkserver_preload([__name__])


class Surroundings(NamedTuple):
    """Where the process works. `log_url` is an embedded log's, `bootstrap` a Kafka's; one of them is there."""

    topic: str
    database_url: str = ""
    log_url: str = ""
    bootstrap: str = ""


class Life:
    """The process, from outside. It meets `fate` the first time that it reaches `point`, if that is one."""

    def __init__(self, surroundings: Surroundings, point: CrashPoint | None = None, fate: "Fate | None" = None) -> None:
        self._pipe, its = FORKS.Pipe(duplex=False)
        self._process = FORKS.Process(target=live, args=(surroundings, point, fate, its), daemon=True)
        self._process.start()
        its.close()

    def met_its_fate_at(self, seconds: float) -> CrashPoint | None:
        """Where it did; None when it did not, or ended otherwise."""
        try:
            point: CrashPoint | None = self._pipe.recv() if self._pipe.poll(seconds) else None
        except EOFError:
            point = None
        return point

    @property
    def was_killed(self) -> bool:
        self._process.join(10.0)
        return self._process.exitcode == -signal.SIGKILL

    def end(self, seconds: float = 10.0) -> int | None:
        """Tells it to stop; what it ended with. One that does not is killed."""
        self._process.terminate()
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        return self._process.exitcode


Fate = Callable[[Surroundings], None]


def be_killed(_: Surroundings) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def lose_the_database(surroundings: Surroundings) -> None:
    """The server ends all that the process has there: transactions, and the relay's lock."""
    with psycopg.connect(surroundings.database_url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


def live(surroundings: Surroundings, point: CrashPoint | None, fate: Fate | None, pipe: Connection) -> None:
    for fact in (SurveyReported, LifeEventReported, DayClosed):
        fact.TOPIC = surroundings.topic  # the test's own; this process has nothing else
    Consumer.REPORT_SECONDS = 0.0
    Relay.STANDBY_SECONDS = 0.05

    def meet_fate(reached: CrashPoint) -> None:
        if reached is point and fate is not None:
            arm(None)
            pipe.send(reached)
            fate(surroundings)

    arm(meet_fate)
    asyncio.run(_live(surroundings))


async def _live(surroundings: Surroundings) -> None:
    database = Database(surroundings.database_url, surroundings.database_url, pool_size=2)
    database.data_keys = DataKeys(LocalMasterKeys(MASTER_KEYS))
    publisher, source = await _transport(surroundings)
    consumer = Consumer("scoring", database, source, _subscriptions())
    relay = Relay("scoring", database, publisher)

    def stop() -> None:
        consumer.stop()
        relay.stop()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    await asyncio.gather(consumer.run(), relay.run())
    await publisher.close()
    await database.close()


def _subscriptions() -> Subscriptions:
    """A group of its own for each life: on Kafka another member of the last one's would wait for its session to end."""
    subscriptions = Subscriptions(f"test-{new_id().hex}")
    subscriptions.on(SurveyReported, note_and_answer)
    subscriptions.on(LifeEventReported, note)
    return subscriptions


async def note_and_answer(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
    """Each survey has an effect, and an event that it causes has another one."""
    await note(session, deliveries)
    for delivery in deliveries:
        publish(session, life_event(delivery.event.customer_id), cause=delivery)


async def _transport(surroundings: Surroundings) -> tuple[Publisher, Source]:
    if surroundings.bootstrap:
        connection = KafkaConnection(surroundings.bootstrap)
        return KafkaPublisher(connection), KafkaSource(connection)
    log = EmbeddedLog(surroundings.log_url)
    await log.start([surroundings.topic], PARTITIONS)
    return log, EmbeddedSource(log)
