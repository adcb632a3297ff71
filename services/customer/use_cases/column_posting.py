"""Posting transactions by columns: the rules of `post_transactions` and `Receipts` for what is new, or the same again.

An account of which anything is out of the ordinary goes the way of objects with all that came for it, so that its order
is kept: one that is unknown or that another event names, or for which came another currency, a conflict, the id of an
event that is held or parked, or a statement that lies behind what is booked.
"""

from collections.abc import Sequence
from typing import NamedTuple

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
from services.customer.use_cases.posted_columns import tell_customers, write_postings, write_receipts
from services.customer.use_cases.receiving import Received, Remembered
from services.customer.use_cases.transaction_columns import Ints, Transactions
from services.customer.use_cases.transactions import reversals_wait
from shared.columns import Column, nullable_numbers, numbers, texts
from shared.copying import execute_with_columns
from shared.messaging.seen import Hashes, Seen, hashes_of


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
    applied = batch.is_new[received]
    if balances is not None:
        await move_balances(session, accounts, balances)
        await write_postings(session, transactions, accounts, rows, order)
        tell_customers(session, transactions, accounts, rows, order)
    if len(received):
        await write_receipts(session, transactions, received, applied)
    columns = transactions.columns
    asked = order.tolist() if len(order) and await reversals_wait(session) else []
    return Posted(
        applied=len(order),
        duplicates=int(batch.is_plain.sum()) - len(order),
        left=np.flatnonzero(~batch.is_plain).tolist(),
        identities=[(columns["account_id"][at], columns["transaction_id"][at]) for at in asked],
    )


# Lateral and with an offset, each is looked up in the index: as a join, the planner reads the whole table for it.
_RECEIPTS = (
    "select n.id, r.fingerprint, r.settled from unnest(%(ids)s::text[]) n (id)"
    " cross join lateral (select fingerprint, outcome in ('applied', 'duplicate') as settled from received_event"
    "  where source = %(source)s and event_id = n.id offset 0) r"
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
        index: dict[str, int] = {}
        self._named = np.array([index.setdefault(name, len(index)) for name in transactions.columns["account_id"]])
        self.names = list(index)
        self._index = index
        count = len(transactions)
        self.came_before = np.zeros(count, np.bool_)
        """Events whose id came before with the same payload: they have their receipt."""
        self._is_posted = np.zeros(count, np.bool_)
        """Events under a new id of a transaction that was posted before."""

    def take(self, accounts: Accounts) -> None:
        """Leaves what names no account that is known, and accounts with anything in another currency."""
        self._accounts = accounts
        self._account_of = np.full(len(self.names), -1)
        self._account_of[accounts.named] = np.arange(len(accounts.named))
        self._is_left = self._account_of < 0
        currency = np.zeros(len(self.names), "S3")
        currency[accounts.named] = accounts.currency
        self._leave(np.array(self._transactions.columns["currency"], "S3") != currency[self._named])

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
        for event in others:
            at = self._index.get(getattr(event.event, "account_id", ""))
            if at is not None:
                self._is_left[at] = True
        ids = {event.event_id for event in others}
        if not ids.isdisjoint(self._transactions.event_ids):
            self._leave(np.array([event_id in ids for event_id in self._transactions.event_ids]))

    def _doubtful(self, seen: Seen | None, hashes: Hashes) -> list[int]:
        """Which may have come before, in this batch or ever."""
        if seen is None:
            return list(range(len(self._named)))
        doubtful = np.flatnonzero(seen.doubtful(hashes)).tolist()
        seen.add(hashes)
        return doubtful

    async def look_up_events(self, session: AsyncSession, remembered: Remembered | None) -> None:
        """The first of an id counts; a conflict, or what waits under the id, is none of the columns' business."""
        transactions, ids = self._transactions, self._transactions.event_ids
        hashes = hashes_of([transactions.source] * len(ids), ids)
        doubtful = self._doubtful(remembered.events if remembered else None, hashes)
        if not doubtful:
            return
        doubted = [ids[at] for at in doubtful]
        rows = await execute_with_columns(session, _RECEIPTS, {"ids": texts(doubted)}, source=transactions.source)
        known = {event_id: (fingerprint, settled) for event_id, fingerprint, settled in rows}
        fingerprints = transactions.fingerprints
        first: dict[str, int] = {}
        wrong = np.zeros(len(ids), np.bool_)
        for at, event_id in zip(doubtful, doubted, strict=True):
            before = first.setdefault(event_id, at)
            fingerprint = int(fingerprints[at])
            if before != at:
                self.came_before[at] = True
                if fingerprint != fingerprints[before]:
                    wrong[[before, at]] = True
            if (receipt := known.get(event_id)) is not None:
                self.came_before[at] = True
                if receipt != (fingerprint, True):
                    wrong[at] = True
        self._leave(wrong)

    async def look_up_transactions(self, session: AsyncSession, remembered: Remembered | None) -> None:
        transactions, columns = self._transactions, self._transactions.columns
        accounts, ids = columns["account_id"], columns["transaction_id"]
        hashes = hashes_of([transactions.source] * len(ids), accounts, ids)
        asks = ~self.came_before & self.is_plain
        doubtful = [at for at in self._doubtful(remembered.transactions if remembered else None, hashes) if asks[at]]
        if not doubtful:
            return
        of = self._account_of[self._named[doubtful]]
        asked = {
            "accounts": Column("uuid", self._accounts.account_id[of]),
            "ids": texts([ids[at] for at in doubtful]),
        }
        known: dict[tuple[str, str], int] = {}
        for index, fingerprint in await execute_with_columns(session, _POSTINGS, asked):
            known[accounts[doubtful[index]], ids[doubtful[index]]] = fingerprint
        wrong = np.zeros(len(ids), np.bool_)
        for at, fingerprint in zip(doubtful, transactions.fingerprints[doubtful].tolist(), strict=True):
            identity = accounts[at], ids[at]
            if (before := known.get(identity)) is None:
                known[identity] = fingerprint
            else:
                self._is_posted[at] = True
                wrong[at] = before != fingerprint
        self._leave(wrong)

    def book(self) -> tuple[Ints, Booked, Balances | None]:
        """The indexes of the new transactions, in the ledger's order; and what they come to, if there are any."""
        columns = self._transactions.columns
        stated, states = nullable_numbers(columns["balance_after_minor"])
        came = Booked(
            self._account_of[self._named],
            numbers([day.toordinal() for day in columns["booked_on"]]),
            numbers(columns["sequence"]),
            numbers(columns["amount_minor"]),
            stated,
            states,
        )
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
