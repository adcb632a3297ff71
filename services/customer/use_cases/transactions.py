"""Posting the core's transactions: each counts once, for ever, in the day that it belongs to."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.domain.balances import Balance, Booked, Point
from services.customer.use_cases.receiving import Arrivals, Received, by_source, of_type
from shared.copying import copy_rows
from shared.events.corebanking import TransactionKind, TransactionPosted, TransactionReversed
from shared.events.customer import PostedTransaction, TransactionsPosted
from shared.ids import derived_id
from shared.messaging.outbox import publish

Movement = TransactionPosted | TransactionReversed
Identity = tuple[UUID, str]
"""(account id, the core's transaction id)"""


@dataclass(slots=True, frozen=True)
class _Account:
    account_id: UUID
    customer_id: UUID
    currency: str
    balance: Balance


@dataclass(slots=True, frozen=True)
class _Posting:
    account: _Account
    core_transaction_id: str
    fingerprint: int
    booked_on: date
    sequence: int
    amount_minor: int
    kind: TransactionKind
    balance_after_minor: int | None
    is_external: bool
    reverses_transaction_id: str | None

    @property
    def identity(self) -> Identity:
        return self.account.account_id, self.core_transaction_id

    @property
    def order(self) -> tuple[UUID, date, int, str]:
        return self.account.account_id, self.booked_on, self.sequence, self.core_transaction_id


async def post_transactions(session: AsyncSession, received: Sequence[Received], arrivals: Arrivals) -> None:
    """Writes the ledger and the balances, and tells each customer's transactions in one event."""
    arrived: list[tuple[Received, Movement]] = of_type(received, TransactionPosted, TransactionReversed)
    if not arrived:
        return
    accounts = await _lock_accounts(session, {(r.source, event.account_id) for r, event in arrived})
    for event_received, event in arrived:
        account = accounts.get((event_received.source, event.account_id))
        if account is None:
            event_received.hold("account", event.account_id, "/data/account_id")
        elif isinstance(event, TransactionPosted) and event.currency != account.currency:
            event_received.park("currency_mismatch", "/data/currency", "the account is in another currency")
    arrived = of_type(received, TransactionPosted, TransactionReversed)
    identities = {(accounts[r.source, event.account_id].account_id, event.transaction_id) for r, event in arrived}
    known = await _fingerprints(session, identities)
    posted: dict[Identity, _Posting] = {}
    for event_received, event in arrived:
        if isinstance(event, TransactionPosted):
            account = accounts[event_received.source, event.account_id]
            if _is_new(event_received, (account.account_id, event.transaction_id), known):
                posting = _posting(event_received, event, account)
                posted[posting.identity] = posting
                arrivals.add(event_received.source, "transaction", f"{event.account_id}/{event.transaction_id}")
    await _reverse(session, received, accounts, known, posted)
    if posted:
        postings = sorted(posted.values(), key=lambda posting: posting.order)
        await _move_balances(session, postings)
        await _write_ledger(session, postings)
        _tell(session, postings)


def _is_new(received: Received, identity: Identity, known: dict[Identity, int]) -> bool:
    if identity in known:
        received.repeats(known[identity])
        return False
    known[identity] = received.fingerprint
    return True


def _posting(received: Received, event: TransactionPosted, account: _Account) -> _Posting:
    return _Posting(
        account=account,
        core_transaction_id=event.transaction_id,
        fingerprint=received.fingerprint,
        booked_on=event.booked_on,
        sequence=event.sequence,
        amount_minor=event.amount_minor,
        kind=event.kind,
        balance_after_minor=event.balance_after_minor,
        is_external=event.counterparty_bank is not None,
        reverses_transaction_id=None,
    )


async def _reverse(
    session: AsyncSession,
    received: Sequence[Received],
    accounts: dict[tuple[str, str], _Account],
    known: dict[Identity, int],
    posted: dict[Identity, _Posting],
) -> None:
    """Adds a posting of the opposite amount for each reversal; one of an unknown transaction is held."""
    arrived = of_type(received, TransactionReversed)
    wanted = {(accounts[r.source, event.account_id].account_id, event.reverses_transaction_id) for r, event in arrived}
    originals = {identity: (p.amount_minor, p.kind, p.is_external) for identity, p in posted.items()}
    if missing := wanted - originals.keys():
        rows = await session.execute(_ORIGINALS, _as_arrays(missing))
        originals |= {(row[0], row[1]): (row[2], TransactionKind(row[3]), row[4]) for row in rows}
    for event_received, event in arrived:
        account = accounts[event_received.source, event.account_id]
        original = originals.get((account.account_id, event.reverses_transaction_id))
        if original is None:
            named = f"{event.account_id}/{event.reverses_transaction_id}"
            event_received.hold("transaction", named, "/data/reverses_transaction_id")
        elif _is_new(event_received, (account.account_id, event.transaction_id), known):
            amount_minor, kind, is_external = original
            posting = _Posting(
                account=account,
                core_transaction_id=event.transaction_id,
                fingerprint=event_received.fingerprint,
                booked_on=event.booked_on,
                sequence=event.sequence,
                amount_minor=-amount_minor,
                kind=kind,
                balance_after_minor=event.balance_after_minor,
                is_external=is_external,
                reverses_transaction_id=event.reverses_transaction_id,
            )
            posted[posting.identity] = posting


_ACCOUNTS = text(
    "select core_account_id, account_id, customer_id, currency, stated_minor, stated_on, stated_sequence,"
    " posted_since_minor, latest_on, latest_sequence from account"
    " where source = :source and core_account_id = any(:ids) order by account_id for no key update"
)


async def _lock_accounts(session: AsyncSession, identities: set[tuple[str, str]]) -> dict[tuple[str, str], _Account]:
    accounts = {}
    for source, core_ids in by_source(identities).items():
        for row in await session.execute(_ACCOUNTS, {"source": source, "ids": core_ids}):
            core_id, account_id, customer_id, currency, stated, *stated_at, since, latest_on, latest_sequence = row
            balance = Balance(
                stated_minor=stated,
                stated_at=Point(*stated_at) if stated is not None else None,
                since_minor=since,
                latest_at=Point(latest_on, latest_sequence) if latest_on is not None else None,
            )
            accounts[source, core_id] = _Account(account_id, customer_id, currency, balance)
    return accounts


_AMONG = (
    " from posting p join unnest(cast(:accounts as uuid[]), cast(:transactions as text[])) w (account_id, id)"
    " on p.account_id = w.account_id and p.core_transaction_id = w.id"
)
_FINGERPRINTS = text(f"select p.account_id, p.core_transaction_id, p.fingerprint {_AMONG}")
_ORIGINALS = text(f"select p.account_id, p.core_transaction_id, p.amount_minor, p.kind, p.is_external {_AMONG}")


def _as_arrays(identities: Iterable[Identity]) -> dict[str, list[Any]]:
    ordered = sorted(identities)
    return {"accounts": [a for a, _ in ordered], "transactions": [t for _, t in ordered]}


async def _fingerprints(session: AsyncSession, identities: set[Identity]) -> dict[Identity, int]:
    rows = await session.execute(_FINGERPRINTS, _as_arrays(identities))
    return {(row.account_id, row.core_transaction_id): row.fingerprint for row in rows}


_LEDGER = {
    "account_id": "uuid",
    "core_transaction_id": "text",
    "fingerprint": "int8",
    "customer_id": "uuid",
    "booked_on": "date",
    "sequence": "int8",
    "amount_minor": "int8",
    "kind": "text",
    "balance_after_minor": "int8",
    "is_external": "bool",
    "reverses_transaction_id": "text",
}


async def _write_ledger(session: AsyncSession, postings: Sequence[_Posting]) -> None:
    rows = (
        (
            p.account.account_id,
            p.core_transaction_id,
            p.fingerprint,
            p.account.customer_id,
            p.booked_on,
            p.sequence,
            p.amount_minor,
            p.kind.value,
            p.balance_after_minor,
            p.is_external,
            p.reverses_transaction_id,
        )
        for p in postings
    )
    await copy_rows(session, "posting", _LEDGER, rows)


_BEHIND = text(
    "select coalesce(sum(amount_minor), 0) from posting"
    " where account_id = :account_id and (booked_on, sequence) > (:day, :sequence)"
)
_MOVE_BALANCES = text(
    "update account a set posted_minor = a.posted_minor + m.amount, transaction_count = a.transaction_count + m.count,"
    " version = a.version + 1, stated_minor = m.stated, stated_on = m.stated_on, stated_sequence = m.stated_sequence,"
    " posted_since_minor = m.since, latest_on = m.latest_on, latest_sequence = m.latest_sequence"
    " from unnest(cast(:account_id as uuid[]), cast(:amount as bigint[]), cast(:count as bigint[]),"
    "   cast(:stated as bigint[]), cast(:stated_on as date[]), cast(:stated_sequence as bigint[]),"
    "   cast(:since as bigint[]), cast(:latest_on as date[]), cast(:latest_sequence as bigint[]))"
    "   as m (account_id, amount, count, stated, stated_on, stated_sequence, since, latest_on, latest_sequence)"
    " where a.account_id = m.account_id"
)


async def _move_balances(session: AsyncSession, postings: Sequence[_Posting]) -> None:
    """Before the ledger has these postings: what lies behind a statement is summed without them."""
    rows: list[dict[str, Any]] = []
    for account, group in groupby(postings, key=lambda posting: posting.account):
        booked = [Booked(Point(p.booked_on, p.sequence), p.amount_minor, p.balance_after_minor) for p in group]
        restated = account.balance.restated_by(booked)
        behind = 0
        if restated is not None and account.balance.looks_back(restated):
            where = {"account_id": account.account_id, **restated.at._asdict()}
            behind = (await session.execute(_BEHIND, where)).scalar_one()
        balance = account.balance.after(booked, restated, int(behind))
        rows.append(
            {
                "account_id": account.account_id,
                "amount": sum(one.amount_minor for one in booked),
                "count": len(booked),
                "stated": balance.stated_minor,
                "stated_on": balance.stated_at and balance.stated_at.day,
                "stated_sequence": balance.stated_at and balance.stated_at.sequence,
                "since": balance.since_minor,
                "latest_on": balance.latest_at and balance.latest_at.day,
                "latest_sequence": balance.latest_at and balance.latest_at.sequence,
            }
        )
    await session.execute(_MOVE_BALANCES, {name: [row[name] for row in rows] for name in rows[0]})


MOST_IN_ONE_EVENT = 1_000


def _tell(session: AsyncSession, postings: Sequence[_Posting]) -> None:
    by_customer: dict[UUID, list[PostedTransaction]] = defaultdict(list)
    for posting in postings:
        by_customer[posting.account.customer_id].append(
            PostedTransaction(
                transaction_id=derived_id(posting.account.account_id, posting.core_transaction_id),
                account_id=posting.account.account_id,
                booked_on=posting.booked_on,
                sequence=posting.sequence,
                amount_minor=posting.amount_minor,
                currency=posting.account.currency,
                kind=posting.kind,
                balance_after_minor=posting.balance_after_minor,
                is_external=posting.is_external,
                is_reversal=posting.reverses_transaction_id is not None,
            )
        )
    for customer_id in sorted(by_customer):
        transactions = by_customer[customer_id]
        for first in range(0, len(transactions), MOST_IN_ONE_EVENT):
            some = tuple(transactions[first : first + MOST_IN_ONE_EVENT])
            publish(session, TransactionsPosted(customer_id=customer_id, transactions=some))
