"""Branchline: its own consumer on its own Kafka source, with a handler of records."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from bench.check import check_exactly_once
from bench.contender import ACTIVITY_TOPIC, ACTIVITY_TYPE, SCHEMA, CustomerActivity, DayActivity, Setup
from bench.input import Posted, holders
from shared.copying import copy_rows
from shared.database import Database
from shared.events.corebanking import TransactionPosted
from shared.ids import new_id
from shared.messaging.consumer import Consumer
from shared.messaging.kafka import KafkaSource
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.records import Record
from shared.messaging.subscriptions import Subscriptions

_STAGE = text("create temporary table if not exists arrived (like posting) on commit delete rows")
_POST = text(
    "insert into posting select * from arrived on conflict do nothing returning customer_id, booked_on, amount_minor"
)
_AGGREGATE = text(
    "insert into daily_aggregate as held select * from unnest(cast(:customers as uuid[]), cast(:days as date[]),"
    " cast(:counts as bigint[]), cast(:debits as bigint[]), cast(:credits as bigint[]))"
    " on conflict (customer_id, day) do update set"
    " transaction_count = held.transaction_count + excluded.transaction_count,"
    " debit_minor = held.debit_minor + excluded.debit_minor, credit_minor = held.credit_minor + excluded.credit_minor"
)
_POSTING = {
    "account_id": "text",
    "transaction_id": "text",
    "customer_id": "uuid",
    "booked_on": "date",
    "sequence": "int8",
    "amount_minor": "int8",
    "currency": "text",
    "kind": "text",
    "balance_after_minor": "int8",
}
_OUTBOX = {
    "event_id": "uuid",
    "type": "text",
    "topic": "text",
    "key": "text",
    "payload": "bytea",
    "occurred_at": "timestamptz",
}


class Branchline:
    share = 1.0
    schema = SCHEMA
    moves_offsets = True
    owner = "bench"

    def __init__(self, name: str = "branchline", *, processes: int = 1, partitions: int = 4) -> None:
        self.name = name
        self.processes = processes
        self.partitions = partitions
        self._holders: dict[str, UUID] = {}
        self._read = msgspec.json.Decoder(TransactionPosted).decode

    async def prepare(self, setup: Setup) -> None:
        self._holders = holders(setup.customers)

    async def run(self, setup: Setup, stop: asyncio.Event) -> None:
        subscriptions = Subscriptions(group=setup.group)
        subscriptions.on_records(setup.topic, self.post_transactions)
        await consume(setup, subscriptions, stop)

    def check(self, setup: Setup, placed: Sequence[Sequence[Posted]]) -> None:
        check_exactly_once(setup, placed)

    async def post_transactions(self, session: AsyncSession, records: Sequence[Record]) -> None:
        """Ledger, aggregates and outbox of a batch, every transaction once."""
        rows: dict[tuple[str, str], tuple[Any, ...]] = {}
        for record in records:
            event = self._read(record.value or b"")
            rows.setdefault(
                (event.account_id, event.transaction_id),
                (
                    event.account_id,
                    event.transaction_id,
                    self._holders[event.account_id],
                    event.booked_on,
                    event.sequence,
                    event.amount_minor,
                    event.currency,
                    event.kind,
                    event.balance_after_minor,
                ),
            )
        await session.execute(_STAGE)
        await copy_rows(session, "arrived", _POSTING, rows.values())
        days: dict[tuple[UUID, date], list[int]] = defaultdict(lambda: [0, 0, 0])
        for customer_id, booked_on, amount in await session.execute(_POST):
            day = days[customer_id, booked_on]
            day[0] += 1
            day[1 if amount < 0 else 2] += abs(amount)
        if not days:
            return
        keys = sorted(days)
        aggregates: dict[str, list[Any]] = {
            "customers": [customer_id for customer_id, _ in keys],
            "days": [day for _, day in keys],
            "counts": [days[key][0] for key in keys],
            "debits": [days[key][1] for key in keys],
            "credits": [days[key][2] for key in keys],
        }
        await session.execute(_AGGREGATE, aggregates)
        by_customer: dict[UUID, list[DayActivity]] = defaultdict(list)
        for customer_id, on in keys:
            by_customer[customer_id].append(DayActivity(on, *days[customer_id, on]))
        now = datetime.now(UTC)
        outbox = (
            (
                new_id(),
                ACTIVITY_TYPE,
                ACTIVITY_TOPIC,
                str(customer_id),
                msgspec.json.encode(CustomerActivity(customer_id, tuple(activity))),
                now,
            )
            for customer_id, activity in by_customer.items()
        )
        await copy_rows(session, "outbox", _OUTBOX, outbox)


async def consume(setup: Setup, subscriptions: Subscriptions, stop: asyncio.Event) -> None:
    """Branchline's consumer, until `stop`."""
    database = Database(setup.database, setup.database, pool_size=2)
    consumer = Consumer("bench", database, KafkaSource(KafkaConnection(setup.bootstrap)), subscriptions)
    running = asyncio.ensure_future(consumer.run())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    consumer.stop()
    await running
    await database.close()
