"""A database that knows what the event core asks of PostgreSQL: read committed, row locks, transaction ids, a horizon.

It reads what it is asked from the statement itself. Whatever of a statement is a guard, it honours only if it is
there: a guard that was taken out of the SQL is out here, too.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from sqlalchemy.exc import OperationalError

from shared.messaging.records import TopicPartition

LOCK_CUSTOMER = "lock the customer and count its revision up"
NOTE_EFFECTS = "note effects"
BEGIN_TO_WRITE = "begin to write"


class Effect(NamedTuple):
    event_id: UUID | None
    customer: UUID | None
    revision: int
    at: TopicPartition
    offset: int = -1
    """Of a raw record; an event does not know its own."""


class OutboxRow(NamedTuple):
    id: int
    event_id: UUID
    type: str
    topic: str
    key: str
    partition: int | None
    payload: bytes
    occurred_at: datetime
    traceparent: str | None


class Position(NamedTuple):
    topic: str
    partition: int
    next_offset: int
    cluster: str
    topic_id: str | None


def connection_lost() -> OperationalError:
    return OperationalError("", None, psycopg.OperationalError("the connection is lost"), connection_invalidated=True)


def deadlock() -> OperationalError:
    return OperationalError("", None, psycopg.errors.DeadlockDetected())


@dataclass(eq=False)
class Transaction:
    xid: int | None = None
    ended: bool = False
    waits_for: "Transaction | None" = None
    locks: list[Any] = field(default_factory=list)
    positions: dict[TopicPartition, Position] = field(default_factory=dict)
    delivered: list[UUID] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    letters: list[tuple[TopicPartition, int]] = field(default_factory=list)
    outbox: list[OutboxRow] = field(default_factory=list)
    revisions: dict[UUID, int] = field(default_factory=dict)
    delivers: bool = False
    """Whether it has moved an offset."""


class Store:
    """What is committed, and who holds what. `violated` is told what no database should have come to."""

    def __init__(self, violated: Callable[[str, str], None]) -> None:
        self._violated = violated
        self.positions: dict[TopicPartition, Position] = {}
        self.delivered: set[UUID] = set()
        self.effects: list[Effect] = []
        self.letters: list[tuple[TopicPartition, int]] = []
        self.outbox: dict[int, OutboxRow] = {}
        self.written: dict[int, tuple[int, OutboxRow]] = {}
        """All rows that were ever committed to the outbox, with their transaction's id."""
        self.revisions: dict[UUID, int] = defaultdict(int)
        self.leader: object | None = None
        """Whose connection has the relay's advisory lock."""
        self._open: dict[int, Transaction] = {}
        self._next_xid = 1
        self._next_id = 1
        self._holders: dict[Any, Transaction] = {}
        self._freed = asyncio.Event()

    def begin_to_write(self, transaction: Transaction) -> int:
        if transaction.xid is None:
            transaction.xid = self._next_xid
            self._open[transaction.xid] = transaction
            self._next_xid += 1
        return transaction.xid

    def commit(self, transaction: Transaction) -> None:
        for at, position in transaction.positions.items():
            before = self.positions.get(at)
            if before is not None and position.next_offset <= before.next_offset:
                self._violated("offset_went_back", f"{at} from {before.next_offset} to {position.next_offset}")
            self.positions[at] = position
        self.delivered |= set(transaction.delivered)
        self.effects += transaction.effects
        self.letters += transaction.letters
        self.revisions |= transaction.revisions
        for row in transaction.outbox:
            assert transaction.xid is not None
            self.outbox[row.id] = row
            self.written[row.id] = (transaction.xid, row)
        self._end(transaction)

    def roll_back(self, transaction: Transaction) -> None:
        if not transaction.ended:
            self._end(transaction)

    def _end(self, transaction: Transaction) -> None:
        transaction.ended = True
        if transaction.xid is not None:
            del self._open[transaction.xid]
        for key in transaction.locks:
            del self._holders[key]
        self._freed.set()
        self._freed = asyncio.Event()

    async def _lock(self, transaction: Transaction, key: Any) -> None:
        """Waits for whoever has the row. Raises a deadlock where PostgreSQL would."""
        self.begin_to_write(transaction)
        while (holder := self._holders.get(key)) not in (None, transaction):
            transaction.waits_for = holder
            ahead: Transaction | None = holder
            while ahead is not None:
                if ahead is transaction:
                    self.roll_back(transaction)
                    raise deadlock()
                ahead = ahead.waits_for
            await self._freed.wait()
            transaction.waits_for = None
            if transaction.ended:  # cut off while it waited
                raise connection_lost()
        if key not in self._holders:
            self._holders[key] = transaction
            transaction.locks.append(key)

    def horizon(self) -> int:
        return min(self._open, default=self._next_xid)

    def read_outbox(self, sql: str, limit: int) -> list[OutboxRow]:
        rows = [self.outbox[each] for each in sorted(self.outbox)]
        if "pg_snapshot_xmin" not in sql:
            return rows[:limit]
        horizon = self.horizon()
        settled = [self.written[row.id][0] < horizon for row in rows]
        if "bool_and(" not in sql:
            return [row for row, is_settled in zip(rows, settled, strict=True) if is_settled][:limit]
        first_unsettled = settled.index(False) if False in settled else len(rows)
        return rows[: min(limit, first_unsettled)]

    def delete_outbox(self, ids: Iterable[int]) -> None:
        for each in ids:
            self.outbox.pop(each, None)

    def write_outbox(self, transaction: Transaction, rows: Iterable[Sequence[Any]]) -> None:
        self.begin_to_write(transaction)
        for row in rows:
            transaction.outbox.append(OutboxRow(self._next_id, *row))
            self._next_id += 1

    async def execute(self, transaction: Transaction, sql: str, given: Any) -> list[Any]:
        """One statement of a session."""
        if transaction.ended:
            raise connection_lost()
        for beginning, meaning in _STATEMENTS.items():
            if sql.startswith(beginning):
                return await meaning(self, transaction, sql, given)
        self._violated("unknown_statement", sql)
        raise NotImplementedError(sql)

    async def _read_positions(self, transaction: Transaction, _: str, given: Any) -> list[Any]:
        now = self.positions | transaction.positions
        return [position for at, position in sorted(now.items()) if at.topic in given["topics"]]

    async def _begin_positions(self, transaction: Transaction, _: str, given: Any) -> list[Any]:
        for row in given:
            at = TopicPartition(row["topic"], row["partition"])
            await self._lock(transaction, at)
            if at not in self.positions:
                transaction.positions[at] = Position(*at, row["offset"], row["cluster"], row["topic_id"])
        return []

    async def _advance(self, transaction: Transaction, sql: str, given: Any) -> list[Any]:
        at = TopicPartition(given["topic"], given["partition"])
        await self._lock(transaction, at)
        stands = self.positions.get(at)
        if stands is None or ("next_offset = :expected" in sql and stands.next_offset != given["expected"]):
            return []
        transaction.positions[at] = stands._replace(next_offset=given["next"])
        transaction.delivers = True
        return [(1,)]

    async def _know(self, transaction: Transaction, _: str, given: Any) -> list[Any]:
        known = []
        for event_id in given["ids"]:
            await self._lock(transaction, event_id)
            if event_id in self.delivered or event_id in transaction.delivered:
                known.append((event_id,))
            else:
                transaction.delivered.append(event_id)
        return known

    async def _park(self, transaction: Transaction, _: str, given: Any) -> list[Any]:
        self.begin_to_write(transaction)
        transaction.letters += [(TopicPartition(row["topic"], row["partition"]), row["offset"]) for row in given]
        return []

    async def _know_customers(self, _: Transaction, __: str, ___: Any) -> list[Any]:
        return []

    async def _note_effects(self, transaction: Transaction, _: str, given: Any) -> list[Any]:
        self.begin_to_write(transaction)
        transaction.effects += given
        return []

    async def _lock_customer(self, transaction: Transaction, _: str, given: Mapping[str, UUID]) -> list[Any]:
        customer = given["customer"]
        await self._lock(transaction, customer)
        revision = transaction.revisions.get(customer, self.revisions[customer]) + 1
        transaction.revisions[customer] = revision
        return [(revision,)]

    async def _begin_to_write(self, transaction: Transaction, _: str, given: Any) -> list[Any]:
        self.begin_to_write(transaction)
        return []


_STATEMENTS = {
    "select topic, partition, next_offset, cluster, topic_id from consumer_offset": Store._read_positions,
    "insert into consumer_offset": Store._begin_positions,
    "update consumer_offset set next_offset = :next": Store._advance,
    "with given as (select unnest(cast(:ids as uuid[])) as event_id), fresh as": Store._know,
    "select i.id, k.destroyed_at is not null as is_erased": Store._know_customers,
    "INSERT INTO dead_letter": Store._park,
    NOTE_EFFECTS: Store._note_effects,
    LOCK_CUSTOMER: Store._lock_customer,
    BEGIN_TO_WRITE: Store._begin_to_write,
}
