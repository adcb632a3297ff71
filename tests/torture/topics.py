"""The topics as this program sees them: what it puts on them, and all that is on them in the end."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from shared.events import TOPICS
from shared.events.corebanking import TOPIC as CORE_TOPIC
from shared.events.corebanking import BusinessDayClosed
from shared.messaging.kafka_connection import KafkaConnection
from tests.torture.bank import Bank, Sent

AT_ONCE = 25
GIVE_UP_AFTER_SECONDS = 180.0
POISON_KEY = b"dead0000-"
"""Begins a key like a customer's: a dead letter keeps no other in the clear."""

Headers = tuple[tuple[str, bytes], ...]


class OnTopic(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict[str, str]


class Poison(NamedTuple):
    """What does not belong on a topic, and the code under which whoever reads it has to park it."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    code: str


def poisons(dice: random.Random) -> list[Poison]:
    """A few for the core's topic and ours; each key is its own."""
    ours: Headers = (("ce_specversion", b"1.0"), ("ce_id", b"not a uuid"), ("ce_time", b"2026-11-01T00:00:00+00:00"))
    known = (*ours, ("ce_type", b"customer.customer_changed.v1"))
    raised = (*ours[:1], ("ce_type", b"scoring.churn_alert_raised.v9"))
    made = [
        (CORE_TOPIC, b"{", (), "malformed_cloud_event"),
        (CORE_TOPIC, b"\xff\xfe", (), "malformed_cloud_event"),
        (CORE_TOPIC, b"[]", (), "malformed_cloud_event"),
        ("customer.events", b"{}", known, "malformed_headers"),
        ("customer.events", b"", (), "unknown_specversion"),
        ("customer.transactions", b"{}", (("ce_specversion", b"1.0"),), "unknown_event_type"),
        ("scoring.events", b"{}", raised, "unknown_event_type"),
        ("interaction.events", b"null", (), "unknown_specversion"),
    ]
    dice.shuffle(made)
    return [
        Poison(topic, POISON_KEY + b"0000-7000-8000-%012d" % number, value, headers, code)
        for number, (topic, value, headers, code) in enumerate(made)
    ]


class Feed(threading.Thread):
    """Puts a bank's events on the core's topic, on any partition, and poison between them; until acknowledged.

    Spread over `seconds`, or as fast as it goes once `hurry` is set. `check` raises what went wrong. A second day is
    closed when `is_first_day_closed` says so of the first: a day lies between them, and scoring begins with the first.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        bank: Bank,
        poison: Sequence[Poison],
        *,
        seconds: float,
        seed: int,
        is_first_day_closed: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(name="core-banking", daemon=True)
        self.hurry = threading.Event()
        self.sent = 0
        self._connection = connection
        self._bank = bank
        self._poison = list(poison)
        self._seconds = seconds
        self._dice = random.Random(seed)
        self._is_first_day_closed = is_first_day_closed
        self._fault: BaseException | None = None

    def run(self) -> None:
        try:
            asyncio.run(self._feed())
        except BaseException as fault:  # noqa: BLE001, RUF100 - told to whoever checks
            self._fault = fault

    def check(self) -> None:
        if self._fault is not None:
            raise self._fault

    async def _feed(self) -> None:
        began = time.monotonic()
        poison_every = max(1, len(self._bank.arrivals) // (len(self._poison) + 1))
        poison = list(self._poison)
        for some in self._batches():
            if self._closes_a_later_day(some[0]):
                await self._wait_for_first_day()
            records: list[tuple[str, bytes, bytes, Headers]] = [
                (CORE_TOPIC, sent.fact.encode(), sent.payload, ()) for sent in some
            ]
            if poison and self.sent // poison_every > len(self._poison) - len(poison):
                bad = poison.pop()
                records.append((bad.topic, bad.key, bad.value, bad.headers))
            await self._send(records)
            self.sent += len(some)
            due = began + self._seconds * self.sent / len(self._bank.arrivals)
            await asyncio.to_thread(self.hurry.wait, max(0.0, due - time.monotonic()))
        for bad in poison:
            await self._send([(bad.topic, bad.key, bad.value, bad.headers)])
        await self._close()

    def _batches(self) -> Iterator[list[Sent]]:
        """What closes a later day begins a batch."""
        batch: list[Sent] = []
        for sent in self._bank.arrivals:
            if batch and (len(batch) == AT_ONCE or self._closes_a_later_day(sent)):
                yield batch
                batch = []
            batch.append(sent)
        if batch:
            yield batch

    def _closes_a_later_day(self, sent: Sent) -> bool:
        return isinstance(sent.event, BusinessDayClosed) and sent.fact != self._bank.first_close

    async def _wait_for_first_day(self) -> None:
        deadline = time.monotonic() + GIVE_UP_AFTER_SECONDS
        while not await asyncio.to_thread(self._is_first_day_closed):
            if time.monotonic() > deadline:
                raise TimeoutError("the first day is not closed in every partition of scoring")
            await asyncio.sleep(0.2)

    _producer: AIOKafkaProducer | None = None

    async def _send(self, records: Sequence[tuple[str, bytes, bytes, Headers]]) -> None:
        """What may have arrived is sent again: the core may send anything twice."""
        deadline = time.monotonic() + GIVE_UP_AFTER_SECONDS
        partitions = [self._dice.randrange(4) for _ in records]
        while True:
            try:
                producer = self._producer = self._producer or await self._start()
                async with asyncio.timeout(20):
                    sent = [
                        await producer.send(topic, key=key, value=value, headers=list(headers), partition=partition)
                        for (topic, key, value, headers), partition in zip(records, partitions, strict=True)
                    ]
                    await asyncio.gather(*sent)
                    return
            except (KafkaError, TimeoutError):
                if time.monotonic() > deadline:
                    raise
                await self._close()
                await asyncio.sleep(0.2)

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**self._connection.client, acks="all", enable_idempotence=True, linger_ms=2)
        try:
            await producer.start()
        except BaseException:
            self._producer = producer
            await self._close()
            raise
        return producer

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            await asyncio.wait_for(producer.stop(), 3)
        except (KafkaError, TimeoutError):
            if producer._sender.sender_task is not None:
                producer._sender.sender_task.cancel()
            await producer.client.close()


def put_one_in_each(connection: KafkaConnection, arrivals: Sequence[Sent]) -> None:
    """One event on each partition of the core's topic, acknowledged."""

    async def put() -> None:
        producer = AIOKafkaProducer(**connection.client, acks="all")
        await producer.start()
        try:
            for partition, sent in enumerate(arrivals):
                await producer.send_and_wait(CORE_TOPIC, sent.payload, key=sent.fact.encode(), partition=partition)
        finally:
            await producer.stop()

    asyncio.run(asyncio.wait_for(put(), 30))


def members_of(connection: KafkaConnection, group: str) -> int:
    """How many the group has, as its coordinator knows."""

    async def ask() -> int:
        admin = AIOKafkaAdminClient(**connection.client)
        await admin.start()
        try:
            (answer,) = await admin.describe_consumer_groups([group])
            (described,) = answer.groups
            return len(described[5])
        finally:
            await admin.close()

    return asyncio.run(asyncio.wait_for(ask(), 30))


def log_ends(connection: KafkaConnection) -> dict[tuple[str, int], int]:
    async def ends() -> dict[tuple[str, int], int]:
        async with asyncio.timeout(30):
            consumer = await _reader(connection)
            try:
                found = await consumer.end_offsets(consumer.assignment())
                return {(at.topic, at.partition): end for at, end in found.items()}
            finally:
                await consumer.stop()

    return asyncio.run(ends())


def read_topics(connection: KafkaConnection) -> list[OnTopic]:
    """Everything on every topic of the line, each partition in its order."""

    async def read() -> list[OnTopic]:
        consumer = await _reader(connection)
        try:
            partitions = consumer.assignment()
            ends = await consumer.end_offsets(partitions)
            found: list[OnTopic] = []
            while any([await consumer.position(at) < ends[at] for at in partitions]):
                for messages in (await consumer.getmany(timeout_ms=1000)).values():
                    found += map(_record, messages)
            return found
        finally:
            await consumer.stop()

    return asyncio.run(asyncio.wait_for(read(), 120))


def _record(message: Any) -> OnTopic:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers}
    return OnTopic(message.topic, message.partition, message.offset, message.key or b"", message.value or b"", headers)


async def _reader(connection: KafkaConnection) -> AIOKafkaConsumer:
    """Reads every partition of every topic."""
    consumer = AIOKafkaConsumer(*TOPICS, **connection.client, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    if {at.topic for at in consumer.assignment()} != set(TOPICS):
        await consumer.stop()
        raise TimeoutError("not every topic is known yet")
    return consumer
