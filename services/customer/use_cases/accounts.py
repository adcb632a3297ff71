"""Accounts and who has a relation to them. Exactly one party is the holder; transactions count for that one."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import AccountNotFound
from services.customer.models import Account, AccountParty
from services.customer.use_cases.parties import find_customers, hold_for_parties
from services.customer.use_cases.receiving import Arrivals, Received, any_of, by_source, newest_revisions, of_type
from shared.events.corebanking import AccountRecorded, PartyRelation
from shared.events.customer import AccountChanged
from shared.ids import new_id
from shared.messaging.outbox import publish


async def record_accounts(session: AsyncSession, received: Sequence[Received], arrivals: Arrivals) -> None:
    """Opens new accounts and changes those of which a newer revision came."""
    arrived = of_type(received, AccountRecorded)
    if not arrived:
        return
    customers = await find_customers(session, {(r.source, p.party_id) for r, event in arrived for p in event.parties})
    for event_received, event in arrived:
        if sum(p.relation is PartyRelation.HOLDER for p in event.parties) != 1:
            event_received.park("no_single_holder", "/data/parties", "an account has exactly one holder")
        else:
            wanted = [(p.party_id, f"/data/parties/{i}/party_id") for i, p in enumerate(event.parties)]
            hold_for_parties(event_received, wanted, customers)
    settled = of_type(received, AccountRecorded)
    accounts = await find_accounts(session, {(r.source, event.account_id) for r, event in settled})
    known = {identity: (a.revision, a.fingerprint) for identity, a in accounts.items()}
    newest = newest_revisions(settled, known, lambda r, event: (r.source, event.account_id))
    rows: list[dict[str, Any]] = []
    parties: set[tuple[UUID, UUID, str]] = set()
    for (source, core_id), (event_received, event) in newest.items():
        account = accounts.get((source, core_id))
        row = {
            "account_id": account.account_id if account else new_id(),
            "source": source,
            "core_account_id": core_id,
            "revision": event.revision,
            "fingerprint": event_received.fingerprint,
            "version": account.version + 1 if account else 1,
            "customer_id": next(
                customers[source, p.party_id].customer_id for p in event.parties if p.relation is PartyRelation.HOLDER
            ),
            "kind": event.kind,
            "currency": event.currency,
            "branch_id": event.branch_id,
            "opened_on": event.opened_on,
            "matures_on": event.matures_on,
            "closed_on": event.closed_on,
        }
        rows.append(row)
        parties |= {
            (row["account_id"], customers[source, p.party_id].customer_id, p.relation.value) for p in event.parties
        }
        if account is None:
            arrivals.add(source, "account", core_id)
        publish(
            session,
            AccountChanged(
                customer_id=row["customer_id"],
                account_id=row["account_id"],
                revision=row["version"],
                kind=event.kind,
                currency=event.currency,
                opened_on=event.opened_on,
                matures_on=event.matures_on,
                closed_on=event.closed_on,
            ),
        )
    if not rows:
        return
    rows.sort(key=lambda row: row["account_id"])
    upsert = insert(Account)
    changed = {name: upsert.excluded[name] for name in rows[0] if name != "account_id"}
    await session.execute(upsert.on_conflict_do_update(index_elements=["account_id"], set_=changed), rows)
    await session.execute(_FORGET_PARTIES, {"account_ids": [row["account_id"] for row in rows]})
    await session.execute(
        insert(AccountParty),
        [{"account_id": a, "customer_id": c, "relation": relation} for a, c, relation in sorted(parties)],
    )


_FORGET_PARTIES = text("delete from account_party where account_id = any(:account_ids)")


async def find_accounts(session: AsyncSession, identities: set[tuple[str, str]]) -> dict[tuple[str, str], Account]:
    """Accounts by (source, the core's account id), locked in the order of their ids."""
    found = {}
    for source, core_ids in by_source(identities).items():
        query = (
            select(Account)
            .where(Account.source == source, Account.core_account_id == any_of(core_ids))
            .order_by(Account.account_id)
            .with_for_update(key_share=True)
        )
        for account in await session.scalars(query.execution_options(populate_existing=True)):
            found[source, account.core_account_id] = account
    return found


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
