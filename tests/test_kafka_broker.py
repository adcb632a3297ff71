"""The broker that the tests run on is a real one."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from shared.ids import new_id
from tests.kafka_broker import ROOT, KafkaBroker, answers, missing

pytestmark = pytest.mark.kafka


@asynccontextmanager
async def a_topic(bootstrap: str, partitions: int) -> AsyncIterator[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    name = f"broker-test-{new_id()}"
    try:
        await admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1)])
        yield name
        await admin.delete_topics([name])
    finally:
        await admin.close()


async def send(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, key=b"one customer", headers=[("ce_type", b"a.fact.v1")])


async def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def test_what_is_produced_to_48_partitions_is_consumed_in_order_of_its_key(kafka_bootstrap: str) -> None:
    sent = [str(number).encode() for number in range(50)]
    async with a_topic(kafka_bootstrap, partitions=48) as topic:
        await send(kafka_bootstrap, topic, sent)
        assert await read(kafka_bootstrap, topic, len(sent)) == sent


async def test_a_killed_broker_comes_back_on_its_port_with_what_it_held(kafka_broker: KafkaBroker) -> None:
    async with a_topic(kafka_broker.bootstrap, partitions=1) as topic:
        await send(kafka_broker.bootstrap, topic, [b"before"])
        kafka_broker.kill()
        assert not answers("127.0.0.1", kafka_broker.port)
        kafka_broker.start()
        await send(kafka_broker.bootstrap, topic, [b"after"])
        assert await read(kafka_broker.bootstrap, topic, 2) == [b"before", b"after"]


def test_a_broker_ends_with_the_run_that_started_it_even_when_that_is_killed(kafka_bootstrap: str) -> None:
    if lacking := missing():
        pytest.skip(lacking)  # a broker that was given is not ours to start
    script = textwrap.dedent("""
        import time
        from tests.kafka_broker import KafkaBroker
        broker = KafkaBroker()
        broker.start()
        print(broker.port, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        port = int(run.stdout.readline())
        assert answers("127.0.0.1", port)
        os.kill(run.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while answers("127.0.0.1", port):
        assert time.monotonic() < deadline, "the broker outlived its run"
        time.sleep(0.05)
