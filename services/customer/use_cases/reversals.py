"""Reversals: each takes back one earlier transaction, whole and once, wherever in the order it comes."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.ledger import LockedAccount, Posting
from services.customer.use_cases.receiving import Arrived, Received
from services.customer.use_cases.rows import as_json
from shared.events.corebanking import TransactionKind, TransactionReversed

Identity = tuple[UUID, str]
"""(our account id, the core's transaction id)"""


@dataclass(frozen=True, slots=True)
class _Original:
    customer_id: UUID
    amount_minor: int
    kind: TransactionKind
    is_external: bool


async def reverse_transactions(session: AsyncSession, arrived: Arrived, accounts: dict[str, LockedAccount]) -> None:
    """Posts the opposite amount for each reversal, for the customer for whom the original counted.

    One of an unknown transaction is held, a second one of the same transaction parked. A reversal is a
    transaction and can be reversed.
    """
    waiting: list[tuple[Received, LockedAccount, TransactionReversed]] = []
    for received, event in arrived.of(TransactionReversed):
        account = accounts[event.account_id]
        if event.transaction_id == event.reverses_transaction_id:
            received.park("reverses_itself", "/data/reverses_transaction_id", "a reversal has an id of its own")
        elif account.is_new(received, event.transaction_id):
            waiting.append((received, account, event))
    if not waiting:
        return
    wanted = {(account.account_id, event.reverses_transaction_id) for _, account, event in waiting}
    originals = await _originals(session, wanted)
    for account in accounts.values():
        originals |= {(p.account_id, p.core_transaction_id): _original(p) for p in account.postings}
    taken_back = await _taken_back(session, wanted)
    while waiting:
        still = []
        for received, account, event in waiting:
            reversed_id = (account.account_id, event.reverses_transaction_id)
            original = originals.get(reversed_id)
            if original is None:
                still.append((received, account, event))
            elif reversed_id in taken_back:
                received.park("already_reversed", "/data/reverses_transaction_id", "another reversal took it back")
            else:
                posting = _posting(received, account, event, original)
                account.post(received, posting)
                originals[posting.account_id, posting.core_transaction_id] = _original(posting)
                taken_back.add(reversed_id)
        if len(still) == len(waiting):
            break
        waiting = still
    for received, _, event in waiting:
        named = f"{event.account_id}/{event.reverses_transaction_id}"
        received.hold("transaction", named, "/data/reverses_transaction_id")


def _original(posting: Posting) -> _Original:
    return _Original(posting.customer_id, posting.amount_minor, posting.kind, posting.is_external)


def _posting(received: Received, account: LockedAccount, event: TransactionReversed, original: _Original) -> Posting:
    return Posting(
        account_id=account.account_id,
        core_transaction_id=event.transaction_id,
        fingerprint=received.fingerprint,
        customer_id=original.customer_id,
        booked_on=event.booked_on,
        sequence=event.sequence,
        amount_minor=-original.amount_minor,
        kind=original.kind,
        balance_after_minor=event.balance_after_minor,
        is_external=original.is_external,
        reverses_transaction_id=event.reverses_transaction_id,
    )


class _Wanted(msgspec.Struct):
    account_id: UUID
    id: str


_WANTED = " from json_to_recordset(cast(:wanted as json)) w (account_id uuid, id text) join posting p"
_ORIGINALS = text(
    "select p.account_id, p.core_transaction_id, p.customer_id, p.amount_minor, p.kind, p.is_external"
    f" {_WANTED} on p.account_id = w.account_id and p.core_transaction_id = w.id"
)
_TAKEN_BACK = text(
    "select p.account_id, p.reverses_transaction_id"
    f" {_WANTED} on p.account_id = w.account_id and p.reverses_transaction_id = w.id"
)


async def _originals(session: AsyncSession, wanted: Iterable[Identity]) -> dict[Identity, _Original]:
    rows = await session.execute(_ORIGINALS, {"wanted": as_json([_Wanted(*each) for each in wanted])})
    return {
        (account_id, transaction_id): _Original(customer_id, amount_minor, TransactionKind(kind), is_external)
        for account_id, transaction_id, customer_id, amount_minor, kind, is_external in rows
    }


async def _taken_back(session: AsyncSession, wanted: Iterable[Identity]) -> set[Identity]:
    rows = await session.execute(_TAKEN_BACK, {"wanted": as_json([_Wanted(*each) for each in wanted])})
    return {(account_id, transaction_id) for account_id, transaction_id in rows}
