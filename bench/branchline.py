"""Branchline: its own consumer on its own Kafka source, with a handler of records on the hot path's pieces."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from bench.check import check_exactly_once
from bench.contender import ACTIVITY_TOPIC, ACTIVITY_TYPE, SCHEMA, Setup
from bench.input import Posted, holders
from shared import json_columns as json
from shared.batch_memory import expect_batches
from shared.byte_slices import mixed
from shared.columns import (
    ROWS_AT_ONCE,
    Column,
    byteas,
    chosen,
    codes,
    constant,
    dates,
    instants,
    integers,
    uuids,
    words_of,
)
from shared.copying import Encoded, copy_columns, copy_encoded, encode, execute_with_columns, write_with_columns
from shared.database import Database
from shared.event_columns import EventReader
from shared.events.corebanking import TransactionPosted
from shared.ids import new_ids
from shared.json_columns import Written
from shared.messaging.consumer import Consumer
from shared.messaging.dead_letters import Parked, park
from shared.messaging.kafka import KafkaSource
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.record_columns import RecordColumns
from shared.messaging.records import Record
from shared.messaging.seen import Hashes, Seen, hashes_of_columns, repeated, write_once
from shared.messaging.subscriptions import Subscriptions
from shared.sealing.data_keys import DataKeys
from shared.sealing.master_keys import LocalMasterKeys
from shared.spare_time import meanwhile, turn
from tests.keys import MASTER_KEYS

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
BATCH, FETCH_MIB = 46_000, 26
"""What is fetched is a batch. The larger, the fewer rows of aggregates and outbox an event, and the more memory."""

# Lateral and with an offset, it looks each up in the index: as a join, the planner reads the whole ledger for it.
_KNOWN = (
    "select n.place from unnest(%(accounts)s::text[], %(transactions)s::text[]) with ordinality n (a, t, place)"
    " cross join lateral (select from posting p where p.account_id = n.a and p.transaction_id = n.t offset 0) p"
)
_AGGREGATE = (
    "insert into daily_aggregate as held select * from unnest(%(customer_id)s::uuid[], %(day)s::date[],"
    " %(transaction_count)s::bigint[], %(debit_minor)s::bigint[], %(credit_minor)s::bigint[])"
    " on conflict (customer_id, day) do update set"
    " transaction_count = held.transaction_count + excluded.transaction_count,"
    " debit_minor = held.debit_minor + excluded.debit_minor, credit_minor = held.credit_minor + excluded.credit_minor"
)


class Postings(NamedTuple):
    """A batch's events: the ledger's columns, and besides, of each, whose it is and the day's ordinal.

    `by_account` are their indexes in the order of the accounts; `faults` are the records that are no events.
    """

    columns: dict[str, Column]
    hashes: Hashes
    twice: Bools
    number: Ints
    day: Ints
    amount: Ints
    by_account: Ints
    faults: Sequence[Parked]


class Days(NamedTuple):
    """What customers' days come to, by columns, ordered by customer and day. `day` is a date's ordinal."""

    holder: Ints
    day: Ints
    transactions: Ints
    debit: Ints
    credit: Ints


class Branchline:
    share = 1.0
    schema = SCHEMA
    moves_offsets = True
    owner = "bench"

    def __init__(self, name: str = "branchline", *, processes: int = 1, partitions: int = 4) -> None:
        self.name = name
        self.processes = processes
        self.partitions = partitions
        self._reader = EventReader(TransactionPosted)
        self._seen, self._begun = (
            Seen(distrusted=0),
            Seen(distrusted=0),
        )  # the ledger is empty, and there is no aggregate

    async def prepare(self, setup: Setup) -> None:
        held = dict(sorted(holders(setup.customers).items(), key=lambda each: each[1]))
        self._numbers = Numbers(list(held))
        self._account_places = np.argsort(np.argsort(np.array(list(held))))
        self._holder_ids = uuids(b"".join([holder.bytes for holder in held.values()]))
        self._holder_keys = codes([str(holder) for holder in held.values()])
        expect_batches()

    async def run(self, setup: Setup, stop: asyncio.Event) -> None:
        subscriptions = Subscriptions(group=setup.group)
        subscriptions.on_records(setup.topic, self.post_transactions, prepare=self.prepare_transactions)
        await consume(setup, subscriptions, stop, batch=BATCH, fetch_mib=FETCH_MIB)

    def check(self, setup: Setup, placed: Sequence[Sequence[Posted]]) -> None:
        check_exactly_once(setup, placed)

    async def prepare_transactions(self, records: Sequence[Record]) -> Postings:
        """What can be made of a batch before what comes before it is written, bit by bit."""
        for read in self._reader.reading(RecordColumns.of(records)):
            events = read
            await turn()
        accounts, transactions = events.texts("account_id"), events.texts("transaction_id")
        number = self._numbers.of(accounts)
        days, on = events.choices("booked_on")
        day = np.array([0 if each is None else each.toordinal() for each in days])[on]
        amount = events.integers("amount_minor")
        await turn()
        columns = {
            "account_id": accounts,
            "transaction_id": transactions,
            "customer_id": self._holder_ids.take(number),
            "booked_on": dates(day),
            "sequence": integers("int8", events.integers("sequence")),
            "amount_minor": integers("int8", amount),
            "currency": chosen(*events.choices("currency")),
            "kind": chosen(*events.choices("kind")),
            "balance_after_minor": integers(
                "int8", events.integers("balance_after_minor"), events.nulls("balance_after_minor")
            ),
        }
        await turn()
        hashes = hashes_of_columns(accounts, transactions)
        await turn()
        twice = repeated(hashes)
        await turn()
        faults = [Parked(records[at], fault.code, fault.detail) for at, fault in events.faults.items()]
        # By account, so that the index is filled page by page. Numbers are in the order of holders, as aggregates are.
        by_account = in_order(self._account_places[number])
        return Postings(columns, hashes, twice, number, day, amount, by_account, faults)

    async def post_transactions(self, session: AsyncSession, postings: Postings) -> None:
        """Ledger, aggregates and outbox of a batch, every transaction once."""
        told = await write_once(session, lambda: self._post(session, postings), self._seen, self._begun)
        await park(session, postings.faults)
        if told is not None:
            await copy_encoded(session, "outbox", told)

    async def _post(self, session: AsyncSession, postings: Postings) -> Encoded | None:
        is_new = await self._new(session, postings)
        new = postings.by_account[is_new[postings.by_account]]
        writing = copy_columns(session, "posting", postings.columns, new)
        days = await meanwhile(writing, self._add_up(postings, new))
        return await meanwhile(self._aggregate(session, days), self._told(days)) if len(days.day) else None

    async def _add_up(self, postings: Postings, new: Ints) -> Days:
        self._seen.add(postings.hashes)
        await turn()
        return totals(postings.number[new], postings.day[new], postings.amount[new])

    async def _new(self, session: AsyncSession, postings: Postings) -> Bools:
        """Which of the transactions were never posted, each once."""
        accounts, transactions = postings.columns["account_id"], postings.columns["transaction_id"]
        met = self._seen.met(postings.hashes)
        is_new = ~(met | postings.twice)
        posted: set[tuple[bytes, bytes]] = set()
        asked = postings.by_account[met[postings.by_account]]  # as the index is
        if len(asked):
            ids = {"accounts": accounts.take(asked), "transactions": transactions.take(asked)}
            found = np.array(await execute_with_columns(session, _KNOWN, ids), np.int64).reshape(-1)
            known = asked[found - 1]
            posted.update(zip(accounts.take(known).items(), transactions.take(known).items(), strict=True))
        doubtful = postings.by_account[~is_new[postings.by_account]]
        some = zip(accounts.take(doubtful).items(), transactions.take(doubtful).items(), strict=True)
        for at, one in zip(doubtful.tolist(), some, strict=True):
            if one not in posted:
                posted.add(one)
                is_new[at] = True
        return is_new

    async def _aggregate(self, session: AsyncSession, days: Days) -> None:
        """A day that a customer has nothing of yet is copied: PostgreSQL does two fifths of what it does for others."""
        hashes = mixed((days.holder << 32 | days.day).astype(np.uint64))
        begun = self._begun.met(hashes)
        self._begun.add(hashes[~begun])
        columns = {
            "customer_id": self._holder_ids.take(days.holder),
            "day": dates(days.day),
            "transaction_count": integers("int8", days.transactions),
            "debit_minor": integers("int8", days.debit),
            "credit_minor": integers("int8", days.credit),
        }
        await copy_columns(session, "daily_aggregate", columns, np.flatnonzero(~begun))
        if begun.any():
            more = {name: column.take(np.flatnonzero(begun)) for name, column in columns.items()}
            await write_with_columns(session, _AGGREGATE, more)

    async def _told(self, days: Days) -> Encoded:
        """One event a customer, each a `CustomerActivity`, written without the objects."""
        starts = group_starts(days.holder)
        first = np.zeros(len(days.holder), np.bool_)
        first[starts] = True
        last = np.append(first[1:], True)
        some = []
        for row in range(0, len(first), ROWS_AT_ONCE):
            rows = slice(row, row + ROWS_AT_ONCE)
            some.append(self._written(first[rows], last[rows], Days(*(column[rows] for column in days))))
            await turn()
        written = json.joined(some)
        told = Written(written.buffer, written.at[starts], np.add.reduceat(written.length, starts)).rows()
        holder = days.holder[starts]
        now = np.full(len(told), int(datetime.now(UTC).timestamp() * 1e6))
        columns = {
            "event_id": uuids(new_ids(len(told))),
            "type": constant(ACTIVITY_TYPE, len(told)),
            "topic": constant(ACTIVITY_TOPIC, len(told)),
            "key": self._holder_keys.take(holder),
            "payload": byteas(told),
            "occurred_at": instants(now),
        }
        await turn()
        return await encode(columns)

    def _written(self, first: Bools, last: Bools, days: Days) -> Written:
        """A day each, with what comes before a customer's first and behind the last."""
        parts: list[bytes | json.Part] = [
            json.literal(b'{"customer_id":"', first),
            json.texts(self._holder_keys.take(days.holder)).where(first),
            json.literal(b'","days":[', first),
            json.literal(b",", ~first),
            b'{"day":"',
            json.dates(days.day),
            b'","transaction_count":',
            json.integers(days.transactions),
            b',"debit_minor":',
            json.integers(days.debit),
            b',"credit_minor":',
            json.integers(days.credit),
            b"}",
            json.literal(b"]}", last),
        ]
        return json.written(parts, len(first))


class Numbers:
    """Which of the given texts each text of a column is: a hash table with linear probing, of arrays."""

    def __init__(self, given: Sequence[str]) -> None:
        column = codes(given)
        self._words = words_of(column)
        bits = 2 + len(given).bit_length()
        self._shift = np.uint64(64 - bits)
        self._table = np.full(1 << bits, -1)
        place, left = self._places(hashes_of_columns(column)), np.arange(len(given))
        while len(left):
            free = self._table[place[left]] < 0
            self._table[place[left[free]]] = left[free]
            left = left[self._table[place[left]] != left]
            place[left] = (place[left] + 1) % len(self._table)

    def of(self, column: Column) -> Ints:
        """Raises KeyError for a text that is none of them."""
        words = words_of(column)
        if len(words) != len(self._words):
            raise KeyError("an account of nobody")
        place, left = self._places(hashes_of_columns(column)), np.arange(len(column.values))
        number = self._table[place]
        while len(left):
            if (number[left] < 0).any():
                raise KeyError("an account of nobody")
            differs = self._words[0][number[left]] != words[0][left]
            for given, word in zip(self._words[1:], words[1:], strict=True):
                differs |= given[number[left]] != word[left]
            left = left[differs]
            place[left] = (place[left] + 1) % len(self._table)
            number[left] = self._table[place[left]]
        return number

    def _places(self, hashes: Hashes) -> Ints:
        return (hashes >> self._shift).astype(np.int64)


def in_order(values: Ints) -> Ints:
    """The indexes that put values below 2**31 in order, stable: sorting them with their indexes beats `argsort`."""
    return np.sort(values << 32 | np.arange(len(values))) & 0xFFFFFFFF


def group_starts(of: Ints) -> Ints:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.concatenate(([True], of[1:] != of[:-1]))) if len(of) else np.empty(0, np.int64)


def totals(holder: Ints, day: Ints, amount: Ints) -> Days:
    first = int(day.min(initial=0)) if len(day) else 0
    span = int(day.max()) - first + 1 if len(day) else 1
    key = holder * span + (day - first)
    order = in_order(key)
    key, amount = key[order], amount[order]
    starts = group_starts(key)
    if not len(starts):
        return Days(key, key, key, key, key)
    count = np.diff(np.append(starts, len(key)))
    debit = np.add.reduceat(np.where(amount < 0, -amount, 0), starts)
    credit = np.add.reduceat(np.where(amount > 0, amount, 0), starts)
    return Days(key[starts] // span, key[starts] % span + first, count, debit, credit)


async def consume(
    setup: Setup, subscriptions: Subscriptions, stop: asyncio.Event, *, batch: int = 20_000, fetch_mib: int = 11
) -> None:
    """Branchline's consumer, until `stop`."""
    database = Database(setup.database, setup.database, pool_size=2)
    database.data_keys = DataKeys(LocalMasterKeys(MASTER_KEYS))
    source = KafkaSource(KafkaConnection(setup.bootstrap), fetch_mib=fetch_mib)
    consumer = Consumer("bench", database, source, subscriptions, batch=batch)
    running = asyncio.ensure_future(consumer.run())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    consumer.stop()
    await running
    await database.close()
