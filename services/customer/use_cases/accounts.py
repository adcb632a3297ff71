"""Accounts and who has a relation to them. Exactly one party is the holder; transactions count for that one."""

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import AccountNotFound
from services.customer.models import Account, AccountParty
from services.customer.use_cases.erasures import erased_of
from services.customer.use_cases.parties import find_customers
from services.customer.use_cases.receiving import Arrived, Received, newest_revisions
from services.customer.use_cases.rows import ANY_ID, as_json, upsert
from shared.events.corebanking import AccountKind, AccountRecorded, PartyRelation
from shared.events.customer import AccountChanged
from shared.ids import new_id
from shared.messaging.outbox import publish


class _Row(msgspec.Struct):
    account_id: UUID
    source: str
    core_account_id: str
    revision: int
    fingerprint: int
    version: int
    customer_id: UUID
    kind: AccountKind
    currency: str
    branch_id: str | None
    opened_on: date
    matures_on: date | None
    closed_on: date | None


class _Party(msgspec.Struct):
    account_id: UUID
    customer_id: UUID
    relation: PartyRelation


_KNOWN = text(
    "select core_account_id, account_id, revision, fingerprint, version, currency, transaction_count"  # noqa: S608 - no value is in it
    f" from account where source = :source and core_account_id {ANY_ID} order by account_id for no key update"
)
_WRITE = upsert("account", ["account_id"], _Row.__struct_fields__)
_FORGET_PARTIES = text(
    "delete from account_party where account_id = any ("
    "  array (select cast(id as uuid) from json_array_elements_text(cast(:ids as json)) id))"
)
_WRITE_PARTIES = text(
    "insert into account_party (account_id, customer_id, relation)"
    " select account_id, customer_id, relation"
    " from json_populate_recordset(cast(null as account_party), cast(:rows as json)) on conflict do nothing"
)


async def record_accounts(session: AsyncSession, arrived: Arrived) -> None:
    """Opens new accounts and changes those of which a newer revision came.

    An account that gets another holder is told about the new one, under a greater revision; what was
    booked before stays the old one's.
    """
    recorded = arrived.of(AccountRecorded)
    if not recorded:
        return
    customers = await find_customers(session, arrived.source, {p.party_id for _, e in recorded for p in e.parties})
    unknown = {p.party_id for _, event in recorded for p in event.parties} - customers.keys()
    erased = await erased_of(session, arrived.source, "party", unknown) if unknown else set()
    for received, event in recorded:
        _hold_or_park(received, event, customers, erased)
    recorded = arrived.of(AccountRecorded)
    wanted = {"source": arrived.source, "ids": as_json({event.account_id for _, event in recorded})}
    known = {row.core_account_id: row for row in await session.execute(_KNOWN, wanted)}
    for received, event in recorded:
        account = known.get(event.account_id)
        if account is not None and account.transaction_count and account.currency != event.currency:
            received.park("currency_mismatch", "/data/currency", "the account has transactions in another currency")
    revisions = {core_id: (row.revision, row.fingerprint) for core_id, row in known.items()}
    newest = newest_revisions(arrived.of(AccountRecorded), revisions, lambda event: event.account_id)
    rows = [_row(*each, known.get(core_id), customers) for core_id, each in newest.items()]
    if not rows:
        return
    rows.sort(key=lambda row: row.account_id)
    arrived.brought.update(f"account:{core_id}" for core_id in newest.keys() - known.keys())
    await session.execute(_WRITE, {"rows": as_json(rows)})
    await session.execute(_FORGET_PARTIES, {"ids": as_json([row.account_id for row in rows])})
    parties = [
        _Party(row.account_id, customers[party.party_id], party.relation)
        for row in rows
        for party in newest[row.core_account_id][1].parties
        if party.party_id not in erased
    ]
    await session.execute(_WRITE_PARTIES, {"rows": as_json(parties)})
    _tell(session, rows)


def _hold_or_park(received: Received, event: AccountRecorded, customers: dict[str, UUID], erased: set[str]) -> None:
    if sum(party.relation is PartyRelation.HOLDER for party in event.parties) != 1:
        received.park("no_single_holder", "/data/parties", "an account has exactly one holder")
        return
    for index, party in enumerate(event.parties):
        if party.party_id in erased:
            if party.relation is PartyRelation.HOLDER:
                received.is_a_duplicate()
                return
        elif party.party_id not in customers:
            received.hold("party", party.party_id, f"/data/parties/{index}/party_id")
            return


def _row(received: Received, event: AccountRecorded, known: Row[Any] | None, customers: dict[str, UUID]) -> _Row:
    (holder,) = (party.party_id for party in event.parties if party.relation is PartyRelation.HOLDER)
    return _Row(
        account_id=known.account_id if known else new_id(),
        source=received.source,
        core_account_id=event.account_id,
        revision=event.revision,
        fingerprint=received.fingerprint,
        version=known.version + 1 if known else 1,
        customer_id=customers[holder],
        kind=event.kind,
        currency=event.currency,
        branch_id=event.branch_id,
        opened_on=event.opened_on,
        matures_on=event.matures_on,
        closed_on=event.closed_on,
    )


def _tell(session: AsyncSession, rows: Sequence[_Row]) -> None:
    for row in rows:
        publish(
            session,
            AccountChanged(
                customer_id=row.customer_id,
                account_id=row.account_id,
                revision=row.version,
                kind=row.kind,
                currency=row.currency,
                opened_on=row.opened_on,
                matures_on=row.matures_on,
                closed_on=row.closed_on,
            ),
        )


async def accounts_of_customer(session: AsyncSession, customer_id: UUID) -> Sequence[tuple[Account, str]]:
    """The accounts that a customer has a relation to, with the relation."""
    rows = await session.execute(
        select(Account, AccountParty.relation)
        .join(AccountParty, AccountParty.account_id == Account.account_id)
        .where(AccountParty.customer_id == customer_id)
        .order_by(Account.opened_on, Account.account_id)
    )
    return [(account, relation) for account, relation in rows]


async def get_account(session: AsyncSession, account_id: UUID) -> Account:
    """Raises AccountNotFound."""
    account = await session.get(Account, account_id)
    if account is None:
        raise AccountNotFound
    return account
