"""Posting transactions by columns: the rules of `post_transactions` and `Receipts` for what is new, or the same again.

An account of which anything is out of the ordinary goes the way of objects with all that came for it, so that its order
is kept: one that is unknown or that another event names, or for which came another currency, a conflict, the id of an
event that is held or parked, or a statement that lies behind what is booked.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.account_columns import (
    Accounts,
    Balances,
    Booked,
    Flags,
    lock_named,
    move_balances,
    moved,
)
from services.customer.use_cases.ledger_receipts import unsettled
from services.customer.use_cases.posted_columns import telling, write_postings, write_receipts
from services.customer.use_cases.receiving import Received, Remembered
from services.customer.use_cases.transaction_columns import Ints, Transactions, items, texts_in
from services.customer.use_cases.transaction_ids import PREFIX, transaction_named_by
from services.customer.use_cases.transactions import reversals_wait
from shared.columns import Column, words_of
from shared.copying import execute_with_columns
from shared.events.customer import TransactionsPosted
from shared.messaging.outbox import publish_encoded
from shared.messaging.seen import Hashes, Seen, repeated
from shared.spare_time import in_turns, meanwhile


class Posted(NamedTuple):
    """What was done by columns. `left` are the indexes of the events that go the way of objects, in their order."""

    applied: int
    duplicates: int
    left: list[int]
    identities: list[tuple[str, str]]
    """(the core's account id, its transaction id) of what was posted, where anybody asks for it."""


async def post_columns(
    session: AsyncSession,
    transactions: Transactions,
    others: Sequence[Received],
    remembered: Remembered | None,
) -> Posted:
    """Writes receipts, ledger and balances of what is plain, and tells its customers.

    `others` are what else came of the same source in the same transaction.
    """
    batch = _Batch(transactions)
    accounts = await lock_named(session, transactions.source, batch.names)
    batch.take(accounts)
    batch.leave_named(others)
    await batch.look_up_events(session, remembered)
    await batch.look_up_transactions(session, remembered)
    order, rows, balances = batch.book()
    received = np.flatnonzero(batch.is_plain & ~batch.came_before)
    if transactions.event_ids is None:
        received = received[~batch.is_new[received]]  # what is new has its receipt in the ledger
    applied = batch.is_new[received]
    if balances is not None:
        await move_balances(session, accounts, balances)
        writing = write_postings(session, transactions, accounts, rows, order)
        told = await meanwhile(writing, in_turns(telling(transactions, accounts, rows, order)))
        publish_encoded(session, TransactionsPosted, told.keys, told.payloads)
    if len(received):
        await write_receipts(session, transactions, received, applied)
    facts = transactions.facts
    asked = order if len(order) and await reversals_wait(session) else order[:0]
    return Posted(
        applied=len(order),
        duplicates=int(batch.is_plain.sum()) - len(order),
        left=np.flatnonzero(~batch.is_plain).tolist(),
        identities=list(zip(texts_in(facts.account_id, asked), texts_in(facts.transaction_id, asked), strict=True)),
    )


# Lateral and with an offset, each is looked up in the index: as a join, the planner reads the whole table for it.
_RECEIPTS = (
    "select n.asked - 1, r.fingerprint, r.settled from unnest(%(ids)s::text[]) with ordinality n (id, asked)"
    " cross join lateral (select fingerprint, outcome in ('applied', 'duplicate') as settled from received_event"
    "  where source = %(source)s and event_id = n.id offset 0) r"
)
_NAMED_RECEIPTS = (
    "select n.asked - 1, r.fingerprint, r.settled from unnest(%(accounts)s::text[], %(ids)s::text[]) with ordinality"
    "  n (account_id, id, asked)"
    " cross join lateral (select fingerprint, outcome in ('applied', 'duplicate') as settled from received_event"
    "  where source = %(source)s and event_id = %(prefix)s::text || n.account_id || '/' || n.id"
    "  union all"
    "  select p.fingerprint, true from account a join posting p on p.account_id = a.account_id and p.is_receipt"
    "  where a.source = %(source)s and a.core_account_id = n.account_id and p.core_transaction_id = n.id offset 0) r"
)
_POSTINGS = (
    "select n.asked - 1, p.fingerprint from unnest(%(accounts)s::uuid[], %(ids)s::text[]) with ordinality"
    "  n (account_id, id, asked)"
    " cross join lateral (select fingerprint from posting"
    "  where account_id = n.account_id and core_transaction_id = n.id offset 0) p"
)


class _Batch:
    """What becomes of each event of a batch, while it is found out."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self.names, self._named = transactions.named
        count = len(transactions)
        self.came_before = np.zeros(count, np.bool_)
        """Events whose id came before with the same payload: they have their receipt."""
        self._is_posted = np.zeros(count, np.bool_)
        """Events under a new id of a transaction that was posted before."""
        self._met: Flags | None = None
        self._twice = repeated(transactions.hashes)
        """Transactions that the batch has more than once, or perhaps has."""

    def take(self, accounts: Accounts) -> None:
        """Leaves what names no account that is known, and accounts with anything in another currency."""
        self._accounts = accounts
        self._account_of = np.full(len(self.names), -1)
        self._account_of[accounts.named] = np.arange(len(accounts.named))
        self._is_left = self._account_of < 0
        currency = np.zeros(len(self.names), "S3")
        currency[accounts.named] = accounts.currency
        self._leave(items(self._transactions.facts.currency) != currency[self._named])

    def _leave(self, wrong: Flags) -> None:
        """Their accounts, with all that came for them."""
        self._is_left[self._named[wrong]] = True

    @property
    def is_plain(self) -> Flags:
        plain: Flags = ~self._is_left[self._named]
        return plain

    @property
    def is_new(self) -> Flags:
        return self.is_plain & ~self.came_before & ~self._is_posted

    def leave_named(self, others: Sequence[Received]) -> None:
        """Accounts that another event names, or whose event has another one's id."""
        if not others:
            return
        named = {getattr(event.event, "account_id", "") for event in others}
        named |= {which.account_id for event in others if (which := transaction_named_by(event.event_id)) is not None}
        self._is_left |= np.array([name in named for name in self.names], np.bool_)
        if (event_ids := self._transactions.event_ids) is not None:
            ids = {event.event_id.encode() for event in others}
            self._leave(np.array([event_id in ids for event_id in items(event_ids).tolist()], np.bool_))

    def _perhaps_met(self, seen: Seen | None, hashes: Hashes) -> Flags:
        """Which may have come before this batch, and are to be looked up."""
        if seen is None:
            return np.ones(len(hashes), np.bool_)
        met = seen.met(hashes)
        seen.add(hashes)
        return met

    async def look_up_events(self, session: AsyncSession, remembered: Remembered | None) -> None:
        """The first of an id counts; a conflict, or what waits under the id, is none of the columns' business."""
        transactions, facts = self._transactions, self._transactions.facts
        hashes, event_ids = transactions.event_hashes, transactions.event_ids
        if event_ids is None:
            met = await self._named_perhaps_met(session, remembered)
            ids: tuple[Column, ...] = facts.account_id, facts.transaction_id
            doubtful = np.flatnonzero(met | self._twice)
        else:
            self._leave_named_by_transactions(event_ids)
            met = self._perhaps_met(remembered.events if remembered else None, hashes)
            ids = (event_ids,)
            doubtful = np.flatnonzero(met | repeated(hashes))
        if not len(doubtful):
            return
        asked = np.flatnonzero(met)
        rows: list[tuple[Any, ...]] = []
        if len(asked) and event_ids is None:
            named = {"accounts": facts.account_id.take(asked), "ids": facts.transaction_id.take(asked)}
            given = {"source": transactions.source, "prefix": PREFIX}
            rows = await execute_with_columns(session, _NAMED_RECEIPTS, named, **given)
        elif len(asked) and event_ids is not None:
            named = {"ids": event_ids.take(asked)}
            rows = await execute_with_columns(session, _RECEIPTS, named, source=transactions.source)
        known = {int(asked[place]): (fingerprint, settled) for place, fingerprint, settled in rows}
        wrong = np.zeros(len(hashes), np.bool_)
        first: dict[tuple[bytes, ...], int] = {}
        for at, *identity, fingerprint in self._more_than_once(doubtful, known, hashes, *ids):
            before = first.setdefault(tuple(identity), at)
            if before != at:
                self.came_before[at] = True
                if fingerprint != transactions.fingerprints[before]:
                    wrong[[before, at]] = True
            if (receipt := known.get(at)) is not None:
                self.came_before[at] = True
                if receipt != (fingerprint, True):
                    wrong[at] = True
        self._leave(wrong)

    async def _named_perhaps_met(self, session: AsyncSession, remembered: Remembered | None) -> Flags:
        """Of events that are named by their transactions: those whose transactions are, or that wait."""
        facts, met = self._transactions.facts, self._transactions_perhaps_met(remembered)
        if met.all():
            return met
        waiting = await unsettled(session, self._transactions.source)
        if waiting is None:
            return np.ones(len(met), np.bool_)
        if not waiting:
            return met
        named = {(which.account_id.encode(), which.transaction_id.encode()) for which in waiting}
        came = zip(items(facts.account_id).tolist(), items(facts.transaction_id).tolist(), strict=True)
        return met | np.array([each in named for each in came], np.bool_)

    def _transactions_perhaps_met(self, remembered: Remembered | None) -> Flags:
        if self._met is None:
            self._met = self._perhaps_met(remembered.transactions if remembered else None, self._transactions.hashes)
        return self._met

    def _leave_named_by_transactions(self, event_ids: Column) -> None:
        """Those whose receipts may be in the ledger."""
        begins = words_of(event_ids)[0] == np.frombuffer(PREFIX[:8].encode(), "<u8")
        for at in np.flatnonzero(begins).tolist():
            begins[at] = transaction_named_by(texts_in(event_ids, np.array([at]))[0]) is not None
        self._leave(begins)

    def _more_than_once(
        self, doubtful: Ints, known: Iterable[int], hashes: Hashes, *ids: Column
    ) -> Iterator[tuple[Any, ...]]:
        """Those of the doubtful that are known, or perhaps another has the same ids: index, ids and fingerprint."""
        of = hashes[doubtful]
        _, which, count = np.unique(of, return_inverse=True, return_counts=True)
        met = np.union1d(doubtful[count[which] > 1], np.fromiter(known, np.int64))
        columns = (items(column.take(met)).tolist() for column in ids)
        return zip(met.tolist(), *columns, self._transactions.fingerprints[met].tolist(), strict=True)

    async def look_up_transactions(self, session: AsyncSession, remembered: Remembered | None) -> None:
        transactions, facts = self._transactions, self._transactions.facts
        hashes = transactions.hashes
        asks = ~self.came_before & self.is_plain
        met = self._transactions_perhaps_met(remembered) & asks
        doubtful, asked = np.flatnonzero(met | (self._twice & asks)), np.flatnonzero(met)
        if not len(doubtful):
            return
        posted: list[tuple[Any, ...]] = []
        if len(asked):
            named = {
                "accounts": Column("uuid", self._accounts.account_id[self._account_of[self._named[asked]]]),
                "ids": facts.transaction_id.take(asked),
            }
            posted = await execute_with_columns(session, _POSTINGS, named)
        known = {int(asked[place]): fingerprint for place, fingerprint in posted}
        wrong = np.zeros(len(hashes), np.bool_)
        first: dict[tuple[bytes, bytes], int] = {}
        ids = facts.account_id, facts.transaction_id
        for at, account_id, transaction_id, fingerprint in self._more_than_once(doubtful, known, hashes, *ids):
            before = known.get(at, first.get((account_id, transaction_id)))
            if before is None:
                first[account_id, transaction_id] = fingerprint
            else:
                self._is_posted[at] = True
                wrong[at] = before != fingerprint
        self._leave(wrong)

    def book(self) -> tuple[Ints, Booked, Balances | None]:
        """The indexes of the new transactions, in the ledger's order; and what they come to, if there are any."""
        facts = self._transactions.facts
        account = self._account_of[self._named]
        came = Booked(account, facts.day, facts.sequence, facts.amount, facts.stated, facts.states)
        while True:
            new = np.flatnonzero(self.is_new)
            rows = came.take(new)
            order = np.lexsort((rows.sequence, rows.day, rows.account))
            rows = rows.take(order)
            if not len(new):
                return new, rows, None
            balances = moved(self._accounts, rows)
            if not balances.odd.any():
                return new[order], rows, balances
            self._is_left[self._accounts.named[balances.account[balances.odd]]] = True
