"""From an event of the core to the row of its alert: the real services, on a load that they can bear.

The event is `corebanking.life_event_recorded.v1`; with what the core reported of the customer before, it reaches the
alert's threshold. It passes the customer service (ingestion, outbox, relay) and the scoring service (consumer, rules,
`churn_alert`). The time runs from the call that sends it until an observer is notified of the committed row. Meanwhile
transactions arrive at a share of the rate at which the line digests a backlog of them, and an echo measures what the
broker alone takes from a producer to a consumer.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from statistics import quantiles
from time import monotonic
from uuid import UUID

import msgspec
import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.input import Sent, generate, headers, holders, payload
from bench.line import PARTITIONS, Line, seed, send_one
from shared.events import corebanking
from shared.events.corebanking import LifeEventKind, LifeEventRecorded

SHARES = (0.2, 0.5, 0.8)
SEED = 5
TICK_SECONDS = 0.02
LATE_SECONDS = 20.0  # after the load has ended; an alert that comes later has not kept up
ECHO = "bench.echo"
_AGGREGATED = "select coalesce(sum(credit_count + debit_count), 0) from daily_aggregate"
_NUMBERS = "select customer_number, customer_id from customer"


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds at a load in events a second. `unseen`: alerts that did not come."""

    share: float
    load: float
    probes: int
    unseen: int
    p50_ms: float
    p99_ms: float
    broker_p50_ms: float
    broker_p99_ms: float


class Latencies(msgspec.Struct, frozen=True):
    """`line_rate`: transactions a second from a backlog through both services into scoring's aggregates."""

    line_rate: float
    levels: list[Latency]
    peak_bytes: dict[str, int]


def measure_latency(line: Line, *, customers: int, backlog: int, probes: int, seconds: float) -> Latencies:
    """`probes` alerts at each share, in `seconds`."""
    seed(line, customers, probes * len(SHARES))
    load = generate(SEED, 10**9, customers, PARTITIONS)
    line_rate = _drain(line, load, backlog)
    with psycopg.connect(line.databases["customer"]) as connection:
        customer_ids: dict[str, UUID] = dict(connection.execute(_NUMBERS).fetchall())
    accounts = list(holders(customers))
    levels = []
    for level, share in enumerate(SHARES):
        chosen = accounts[level * probes : (level + 1) * probes]
        found = asyncio.run(_level(line, load, share * line_rate, chosen, customer_ids, seconds))
        levels.append(msgspec.structs.replace(found, share=share))
    return Latencies(line_rate, levels, line.peak_bytes())


def _drain(line: Line, load: Iterator[Sent], backlog: int) -> float:
    """Sends a backlog at once; returns how many of it a second came through."""
    sent = [next(load) for _ in range(backlog)]
    began = monotonic()
    asyncio.run(_send_all(line.bootstrap, sent))
    line.wait_until("scoring", _AGGREGATED, len({each.posted.number for each in sent}))
    return backlog / (monotonic() - began)


async def _send_all(bootstrap: str, sent: list[Sent]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=5) as producer:
        for each in sent:
            await _send_transaction(producer, each)
        await producer.flush()


async def _send_transaction(producer: AIOKafkaProducer, sent: Sent) -> None:
    await producer.send(
        corebanking.TOPIC,
        payload(sent.posted),
        key=sent.posted.account_id.encode(),
        headers=headers(sent),
        partition=sent.partition,
    )


async def _level(
    line: Line, load: Iterator[Sent], rate: float, accounts: list[str], customer_ids: dict[str, UUID], seconds: float
) -> Latency:
    seen: dict[UUID, float] = {}
    asked: dict[UUID, float] = {}
    echoes: list[float] = []
    all_seen = asyncio.Event()
    listening, echoing = asyncio.Event(), asyncio.Event()

    async def observe() -> None:
        async with await psycopg.AsyncConnection.connect(line.databases["scoring"], autocommit=True) as connection:
            await connection.execute("listen alert")
            listening.set()
            async for told in connection.notifies():
                seen[UUID(told.payload)] = monotonic()
                if len(seen) == len(accounts):
                    all_seen.set()

    async def load_on(producer: AIOKafkaProducer) -> None:
        began, count = monotonic(), 0
        while (now := monotonic() - began) < seconds:
            while count < now * rate:
                await _send_transaction(producer, next(load))
                count += 1
            await asyncio.sleep(TICK_SECONDS)

    async def probe(producer: AIOKafkaProducer) -> None:
        for account in accounts:
            happened = LifeEventRecorded(
                life_event_id=f"L{account}",
                party_id=f"P{account}",
                kind=LifeEventKind.DEATH_IN_HOUSEHOLD,
                happened_on=_today(),
            )
            asked[customer_ids[account]] = monotonic()
            await send_one(producer, happened)
            await asyncio.sleep(seconds / len(accounts))

    async def echo() -> None:
        async with (
            AIOKafkaProducer(bootstrap_servers=line.bootstrap, acks="all") as producer,
            AIOKafkaConsumer(ECHO, bootstrap_servers=line.bootstrap, auto_offset_reset="latest") as consumer,
        ):
            await consumer.seek_to_end()
            echoing.set()
            while True:
                began = monotonic()
                await producer.send(ECHO, b"x")
                await consumer.getone()
                echoes.append(1e3 * (monotonic() - began))
                await asyncio.sleep(5 * TICK_SECONDS)

    await _make_echo(line.bootstrap)
    watching = [asyncio.ensure_future(observe()), asyncio.ensure_future(echo())]
    await asyncio.gather(listening.wait(), echoing.wait())
    async with (
        AIOKafkaProducer(bootstrap_servers=line.bootstrap, enable_idempotence=True, linger_ms=5) as loading,
        AIOKafkaProducer(bootstrap_servers=line.bootstrap, enable_idempotence=True) as probing,
    ):
        await asyncio.gather(load_on(loading), probe(probing))
        with suppress(TimeoutError):  # those are told as `unseen`
            await asyncio.wait_for(all_seen.wait(), LATE_SECONDS)
    for each in watching:
        each.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    for each in watching:
        if not each.cancelled():
            each.result()
    took = sorted(1e3 * (seen[customer_id] - at) for customer_id, at in asked.items() if customer_id in seen)
    p50, p99 = _percentiles(took)
    broker_p50, broker_p99 = _percentiles(echoes)
    return Latency(0, rate, len(asked), len(asked) - len(took), p50, p99, broker_p50, broker_p99)


def _today() -> date:
    return datetime.now(UTC).date()


def _percentiles(values: list[float]) -> tuple[float, float]:
    """The 50th and the 99th."""
    cuts = quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


async def _make_echo(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        if ECHO not in await admin.list_topics():
            await admin.create_topics([NewTopic(ECHO, 1, 1)])
    finally:
        await admin.close()
