"""The ledger: each posting once, for ever, and an account's balance with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.domain.balances import Balance
from services.customer.use_cases.receiving import Received
from services.customer.use_cases.rows import ANY_ID, as_json
from shared.copying import copy_rows
from shared.events.corebanking import TransactionKind


class Posting(NamedTuple):
    """A row of the ledger."""

    account_id: UUID
    core_transaction_id: str
    fingerprint: int
    customer_id: UUID
    booked_on: date
    sequence: int
    amount_minor: int
    kind: TransactionKind
    balance_after_minor: int | None
    is_external: bool
    reverses_transaction_id: str | None


_COLUMNS = {
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
_IN_ORDER = itemgetter(Posting._fields.index("booked_on"), Posting._fields.index("sequence"))


@dataclass(slots=True)
class LockedAccount:
    """An account and what this transaction posts to it. `known` are its postings' fingerprints, by the core's ids."""

    core_account_id: str
    account_id: UUID
    customer_id: UUID
    currency: str
    balance: Balance
    known: dict[str, int] = field(default_factory=dict)
    postings: list[Posting] = field(default_factory=list)
    posted: list[Received] = field(default_factory=list)

    def is_new(self, received: Received, transaction_id: str) -> bool:
        """Whether the transaction was never posted; else it is a duplicate, or parked as a conflict."""
        fingerprint = self.known.get(transaction_id)
        if fingerprint is None:
            self.known[transaction_id] = received.fingerprint
            return True
        received.repeats(fingerprint)
        return False

    def post(self, received: Received, posting: Posting) -> None:
        self.postings.append(posting)
        self.posted.append(received)

    def book(self) -> None:
        """Moves the balance; what lies behind a new statement is looked up afterwards."""
        if len(self.postings) > 1:
            self.postings.sort(key=_IN_ORDER)
        book = self.balance.book
        for posting in self.postings:
            book((posting.booked_on, posting.sequence), posting.amount_minor, posting.balance_after_minor)

    def refuse_uncountable(self) -> None:
        """Parks all that is posted where no sum could hold it."""
        if not self.balance.is_countable:
            self.postings.clear()
            for received in self.posted:
                received.park("sum_too_great", "/data/amount_minor", "the account's amounts add up to more than counts")


_LOCK = text(
    "select core_account_id, account_id, customer_id, currency, stated_minor, stated_on, stated_sequence,"  # noqa: S608 - no value is in it
    " posted_since_minor, latest_on, latest_sequence, posted_minor"
    f" from account where source = :source and core_account_id {ANY_ID} order by account_id for no key update"
)


async def lock_accounts(session: AsyncSession, source: str, core_ids: Iterable[str]) -> dict[str, LockedAccount]:
    """By the core's ids, in the order of ours."""
    accounts = {}
    for row in await session.execute(_LOCK, {"source": source, "ids": as_json(core_ids)}):
        core_id, account_id, customer_id, currency, stated, stated_on, stated_at, since, latest_on, latest, posted = row
        balance = Balance(
            stated_minor=stated,
            stated_at=None if stated is None else (stated_on, stated_at),
            since_minor=since,
            latest_at=None if latest_on is None else (latest_on, latest),
            posted_minor=posted,
        )
        accounts[core_id] = LockedAccount(core_id, account_id, customer_id, currency, balance)
    return accounts


class Named(msgspec.Struct):
    """Transactions of one account, by the core's ids."""

    account_id: UUID
    ids: list[str]


_FINGERPRINTS = text(
    "select p.account_id, p.core_transaction_id, p.fingerprint"
    " from json_to_recordset(cast(:named as json)) n (account_id uuid, ids text[]) cross join unnest(n.ids) i (id)"
    " join posting p on p.account_id = n.account_id and p.core_transaction_id = i.id"
)


async def recall_postings(session: AsyncSession, named: Iterable[tuple[LockedAccount, list[str]]]) -> None:
    """Fills `known` with those of the transactions that were posted before."""
    accounts = {account.account_id: account for account, _ in named}
    rows = [Named(account.account_id, ids) for account, ids in named]
    for account_id, transaction_id, fingerprint in await session.execute(_FINGERPRINTS, {"named": as_json(rows)}):
        accounts[account_id].known[transaction_id] = fingerprint


_BEHIND = text(
    "select n.account_id, (select coalesce(sum(p.amount_minor), 0) from posting p"
    "  where p.account_id = n.account_id and (p.booked_on, p.sequence) > (n.day, n.sequence))"
    " from json_to_recordset(cast(:points as json)) n (account_id uuid, day date, sequence bigint)"
)
_MOVE_BALANCES = text(
    "update account a set posted_minor = m.posted, transaction_count = a.transaction_count + m.count,"
    " version = a.version + 1, stated_minor = m.stated, stated_on = m.stated_on, stated_sequence = m.stated_sequence,"
    " posted_since_minor = m.since, latest_on = m.latest_on, latest_sequence = m.latest_sequence"
    " from json_to_recordset(cast(:rows as json)) m (account_id uuid, count bigint, posted bigint, stated bigint,"
    "  stated_on date, stated_sequence bigint, since bigint, latest_on date, latest_sequence bigint)"
    " where a.account_id = m.account_id"
)


class _Point(msgspec.Struct):
    account_id: UUID
    day: date
    sequence: int


class _Moved(msgspec.Struct):
    account_id: UUID
    count: int
    posted: int
    stated: int | None
    stated_on: date | None
    stated_sequence: int | None
    since: int
    latest_on: date | None
    latest_sequence: int | None


async def write_postings(session: AsyncSession, accounts: Sequence[LockedAccount]) -> list[LockedAccount]:
    """Books what is posted; returns the accounts that moved, their postings in order."""
    for account in accounts:
        account.book()
    await _look_back(session, [account for account in accounts if account.balance.looks_back])
    for account in accounts:
        account.refuse_uncountable()
    moved = [account for account in accounts if account.postings]
    if moved:
        await session.execute(_MOVE_BALANCES, {"rows": as_json([_moved(account) for account in moved])})
        await copy_rows(session, "posting", _COLUMNS, (row for account in moved for row in account.postings))
    return moved


async def _look_back(session: AsyncSession, accounts: Sequence[LockedAccount]) -> None:
    """Before the ledger has this transaction's postings: their part is in the balance already."""
    points = [
        _Point(account.account_id, *account.balance.stated_at)
        for account in accounts
        if account.balance.stated_at is not None
    ]
    if points:
        behind = {row[0]: int(row[1]) for row in await session.execute(_BEHIND, {"points": as_json(points)})}
        for account in accounts:
            account.balance.since_minor += behind[account.account_id]


def _moved(account: LockedAccount) -> _Moved:
    balance = account.balance
    stated_on, stated_sequence = balance.stated_at or (None, None)
    latest_on, latest_sequence = balance.latest_at or (None, None)
    return _Moved(
        account_id=account.account_id,
        count=len(account.postings),
        posted=balance.posted_minor,
        stated=balance.stated_minor,
        stated_on=stated_on,
        stated_sequence=stated_sequence,
        since=balance.since_minor,
        latest_on=latest_on,
        latest_sequence=latest_sequence,
    )
