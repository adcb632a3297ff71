"""FastStream with pydantic and SQLAlchemy, as their documents have it, doing the same work as exactly.

Kinder than the defaults: without FastStream's line of log for each message, with orjson for its JSON, without commits
to Kafka (the offsets are in the database, as everybody's), on uvloop, and with the best page for its inserts.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID

from aiokafka import ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.annotations import KafkaMessage
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, Column, Date, MetaData, Table, Text, Uuid, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from bench.check import check_exactly_once
from bench.contender import ACTIVITY_TOPIC, ACTIVITY_TYPE, SCHEMA, Setup
from bench.input import Posted, holders
from shared.events.corebanking import TransactionKind
from shared.ids import new_id
from shared.messaging.tables import consumer_offset, outbox

PAGE = 100  # rows a statement; measured as the best of 10, 25, 100 and 1,000
metadata = MetaData()
posting = Table(
    "posting",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("transaction_id", Text, primary_key=True),
    Column("customer_id", Uuid),
    Column("booked_on", Date),
    Column("sequence", BigInteger),
    Column("amount_minor", BigInteger),
    Column("currency", Text),
    Column("kind", Text),
    Column("balance_after_minor", BigInteger),
)
daily_aggregate = Table(
    "daily_aggregate",
    metadata,
    Column("customer_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("transaction_count", BigInteger),
    Column("debit_minor", BigInteger),
    Column("credit_minor", BigInteger),
)

_post = (
    insert(posting)
    .on_conflict_do_nothing()
    .returning(posting.c.customer_id, posting.c.booked_on, posting.c.amount_minor)
)
_add = insert(daily_aggregate)
_add = _add.on_conflict_do_update(
    index_elements=[daily_aggregate.c.customer_id, daily_aggregate.c.day],
    set_={
        name: daily_aggregate.c[name] + _add.excluded[name]
        for name in ("transaction_count", "debit_minor", "credit_minor")
    },
)

BankId = Annotated[str, Field(min_length=1, max_length=64)]
Minor = Annotated[int, Field(ge=-(2**53), le=2**53)]


class Transaction(BaseModel):
    """What Branchline's own `TransactionPosted` validates."""

    account_id: BankId
    transaction_id: BankId
    booked_on: date
    sequence: Annotated[int, Field(ge=0, le=2**53)] = 0
    amount_minor: Minor
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    kind: TransactionKind
    balance_after_minor: Minor | None = None
    counterparty_bank: Annotated[str, Field(max_length=20)] | None = None


class Day(BaseModel):
    day: date
    transaction_count: int
    debit_minor: int
    credit_minor: int


class Activity(BaseModel):
    customer_id: UUID
    days: list[Day]


class NotInTurn(Exception):
    """The record is not the one that the database has next."""


class DatabaseOffsets(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships no types
    """Begins each partition where the database says."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self.sessions = sessions
        self.subscriber: Any = None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        pass

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        consumer = self.subscriber.consumer
        consumer.pause(*assigned)  # aiokafka begins to read before it is told from where
        rows = [{"topic": at.topic, "partition": at.partition, "next_offset": 0, "cluster": ""} for at in assigned]
        async with self.sessions.begin() as session:
            await session.execute(insert(consumer_offset).on_conflict_do_nothing(), rows)
            for row in await session.execute(consumer_offset.select()):
                at = TopicPartition(row.topic, row.partition)
                if at in assigned:
                    consumer.seek(at, row.next_offset)
        consumer.resume(*assigned)

    async def move(self, session: AsyncSession, records: Sequence[ConsumerRecord]) -> None:
        """Moves the offsets from the first to behind the last of the records. Raises NotInTurn."""
        runs: dict[TopicPartition, tuple[int, int]] = {}
        for record in records:
            at = TopicPartition(record.topic, record.partition)
            runs[at] = runs.get(at, (record.offset,))[0], record.offset + 1
        for at, (expected, next_offset) in runs.items():
            result: Any = await session.execute(
                update(consumer_offset)
                .where(
                    consumer_offset.c.topic == at.topic,
                    consumer_offset.c.partition == at.partition,
                    consumer_offset.c.next_offset == expected,
                )
                .values(next_offset=next_offset)
            )
            if result.rowcount != 1:
                raise NotInTurn(f"{at.topic}/{at.partition} is not at {expected}")


class FastStreamContender:
    processes = 1
    partitions = 4
    schema = SCHEMA
    moves_offsets = True
    owner = "bench"

    def __init__(self, name: str, *, batch: int | None, share: float) -> None:
        self.name = name
        self.share = share
        self._batch = batch
        self._holders: dict[str, UUID] = {}

    async def prepare(self, setup: Setup) -> None:
        self._holders = holders(setup.customers)

    async def run(self, setup: Setup, stop: asyncio.Event) -> None:
        # Of SQLAlchemy's default, 1,000 rows, psycopg would parse 100 KB of SQL again for each batch.
        url = make_url(setup.database).set(drivername="postgresql+psycopg")
        engine = create_async_engine(url, insertmanyvalues_page_size=PAGE)
        sessions = async_sessionmaker(engine, expire_on_commit=False)
        offsets = DatabaseOffsets(sessions)
        broker = KafkaBroker(setup.bootstrap, logger=None)
        options: dict[str, Any] = {
            "group_id": setup.group,
            "auto_offset_reset": "earliest",
            "ack_policy": AckPolicy.MANUAL,
            "listener": offsets,
        }
        failed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def post(events: Sequence[Transaction], records: Sequence[ConsumerRecord]) -> None:
            try:
                async with sessions.begin() as session:
                    await offsets.move(session, records)
                    await self._post(session, events)
            except Exception as fault:
                if not failed.done():  # FastStream would go on with the next message
                    failed.set_exception(fault)
                raise

        if self._batch is None:
            subscriber: Any = broker.subscriber(setup.topic, **options)

            @subscriber  # type: ignore[untyped-decorator] # it is Any: what FastStream takes depends on `batch`
            async def post_one(event: Transaction, message: KafkaMessage) -> None:
                await post([event], [message.raw_message])

        else:
            subscriber = broker.subscriber(setup.topic, batch=True, max_records=self._batch, **options)

            @subscriber  # type: ignore[untyped-decorator] # as above
            async def post_batch(events: list[Transaction], message: KafkaMessage) -> None:
                await post(events, message.raw_message)

        offsets.subscriber = subscriber
        await broker.start()
        stopping: asyncio.Future[bool] = asyncio.ensure_future(stop.wait())
        await asyncio.wait({stopping, failed}, return_when=asyncio.FIRST_COMPLETED)
        await broker.stop()
        await engine.dispose()
        if failed.done():
            failed.result()

    async def _post(self, session: AsyncSession, events: Sequence[Transaction]) -> None:
        """Ledger, aggregates and outbox, every transaction once."""
        rows = [
            {
                "account_id": event.account_id,
                "transaction_id": event.transaction_id,
                "customer_id": self._holders[event.account_id],
                "booked_on": event.booked_on,
                "sequence": event.sequence,
                "amount_minor": event.amount_minor,
                "currency": event.currency,
                "kind": event.kind,
                "balance_after_minor": event.balance_after_minor,
            }
            for event in events
        ]
        days: dict[UUID, dict[date, Day]] = defaultdict(dict)
        for customer_id, booked_on, amount in await session.execute(_post, rows):
            day = days[customer_id].setdefault(
                booked_on, Day(day=booked_on, transaction_count=0, debit_minor=0, credit_minor=0)
            )
            day.transaction_count += 1
            if amount < 0:
                day.debit_minor -= amount
            else:
                day.credit_minor += amount
        if not days:
            return
        aggregates = [
            {"customer_id": customer_id, **day.model_dump()}
            for customer_id, by_day in days.items()
            for day in by_day.values()
        ]
        await session.execute(_add, aggregates)
        now = datetime.now(UTC)
        told = [
            {
                "event_id": new_id(),
                "type": ACTIVITY_TYPE,
                "topic": ACTIVITY_TOPIC,
                "key": str(customer_id),
                "payload": Activity(customer_id=customer_id, days=list(by_day.values())).model_dump_json().encode(),
                "occurred_at": now,
            }
            for customer_id, by_day in days.items()
        ]
        await session.execute(insert(outbox), told)

    def check(self, setup: Setup, placed: Sequence[Sequence[Posted]]) -> None:
        check_exactly_once(setup, placed)
