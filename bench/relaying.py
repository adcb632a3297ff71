"""The relay alone: the outbox into Kafka, by the real Relay, until nothing is left."""

import asyncio
from collections.abc import Sequence

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import text

from bench.check import NotExactlyOnce
from bench.contender import ACTIVITY_TYPE, SCHEMA, Setup
from bench.input import Posted
from shared.database import Database
from shared.messaging.kafka import KafkaPublisher, create_topics
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.relay import Relay

LOOK_SECONDS = 0.02
_FILL = (
    "insert into outbox (event_id, type, topic, key, payload, occurred_at)"
    " select gen_random_uuid(), %s, %s, gen_random_uuid()::text, convert_to(rpad('{', 299, ' ') || '}', 'utf8'), now()"
    " from generate_series(1, %s)"
)
_LEFT = text("select exists (select from outbox)")


class Relaying:
    """Of outbox rows with 300 bytes of payload."""

    name = "relay"
    processes = 1
    partitions = 4
    share = 0.25
    schema = SCHEMA
    moves_offsets = False
    owner = "bench"

    def __init__(self) -> None:
        self._database: Database | None = None

    async def prepare(self, setup: Setup) -> None:
        await create_topics(KafkaConnection(setup.bootstrap), [setup.group], setup.partitions)
        with psycopg.connect(setup.database, autocommit=True) as connection:
            connection.execute(_FILL, [ACTIVITY_TYPE, setup.group, setup.wanted])
            connection.execute("vacuum analyze outbox")

    async def run(self, setup: Setup, stop: asyncio.Event) -> None:
        # Open until the process ends: what its backends have used is read before.
        database = self._database = Database(setup.database, setup.database, pool_size=2)
        publisher = KafkaPublisher(KafkaConnection(setup.bootstrap))
        relay = Relay("bench", database, publisher)
        running = asyncio.ensure_future(relay.run())
        async with database.jobs.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            while not stop.is_set() and await connection.scalar(_LEFT):  # noqa: ASYNC110 - a database sets no Event
                await asyncio.sleep(LOOK_SECONDS)
        relay.stop()
        await running
        await publisher.close()

    def check(self, setup: Setup, placed: Sequence[Sequence[Posted]]) -> None:  # noqa: ARG002 - it reads none of it
        """Nobody failed, so nothing was sent twice."""
        ends = asyncio.run(_ends(setup))
        if sum(ends) != setup.wanted:
            raise NotExactlyOnce(f"{sum(ends)} of {setup.wanted} events are on the topic")


async def _ends(setup: Setup) -> list[int]:
    async with AIOKafkaConsumer(bootstrap_servers=setup.bootstrap) as consumer:
        ends = await consumer.end_offsets([TopicPartition(setup.group, n) for n in range(setup.partitions)])
        return list(ends.values())
