"""Parties of the core become customers; every service hears who looks after them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, any_, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.domain.names import search_key
from services.customer.models import Branch, Customer
from services.customer.use_cases.receiving import (
    Arrivals,
    Outcome,
    Received,
    any_of,
    by_source,
    newest_revisions,
    of_type,
)
from shared.events.corebanking import PartyRecorded
from shared.events.customer import CustomerChanged
from shared.ids import new_id
from shared.messaging.outbox import publish
from shared.scope import keep_scope


async def record_parties(session: AsyncSession, received: Sequence[Received], arrivals: Arrivals) -> None:
    """Registers new customers and changes those whose party has a newer revision."""
    if not of_type(received, PartyRecorded):
        return
    branch_ids = set(await session.scalars(select(Branch.branch_id)))
    for event_received, event in of_type(received, PartyRecorded):
        if event.branch_id not in branch_ids:
            event_received.hold("branch", event.branch_id, "/data/branch_id")
    arrived = of_type(received, PartyRecorded)
    customers = await find_customers(session, {(r.source, event.party_id) for r, event in arrived})
    known = {identity: (c.revision, c.fingerprint) for identity, c in customers.items()}
    newest = newest_revisions(arrived, known, lambda r, event: (r.source, event.party_id))
    rows = [
        _row(event_received, event, customers.get(identity)) for identity, (event_received, event) in newest.items()
    ]
    if not rows:
        return
    rows.sort(key=lambda row: row["customer_id"])
    upsert = insert(Customer)
    changed = {name: upsert.excluded[name] for name in rows[0] if name != "customer_id"}
    await session.execute(
        upsert.on_conflict_do_update(index_elements=["customer_id"], set_={**changed, "updated_at": text("now()")}),
        rows,
    )
    for source, party_id in newest.keys() - customers.keys():
        arrivals.add(source, "party", party_id)
    await announce_customers(session, [row["customer_id"] for row in rows])


def _row(received: Received, event: PartyRecorded, known: Customer | None) -> dict[str, Any]:
    assigned_here = known is not None and known.is_assigned_here
    return {
        "customer_id": known.customer_id if known else new_id(),
        "source": received.source,
        "party_id": event.party_id,
        "revision": event.revision,
        "fingerprint": received.fingerprint,
        "version": known.version + 1 if known else 1,
        "customer_number": event.customer_number,
        "branch_id": event.branch_id,
        "manager_id": known.manager_id if known and assigned_here else event.manager_id,
        "deputy_manager_id": known.deputy_manager_id if known and assigned_here else event.deputy_manager_id,
        "is_assigned_here": assigned_here,
        "name": event.name,
        "name_key": search_key(event.name) if event.name else None,
        "birth_on": event.birth_on,
        "phone": event.phone,
        "email": event.email,
        "address": event.address,
        "household_id": event.household_id,
        "customer_since": event.customer_since,
        "left_on": event.left_on,
    }


async def announce_customers(session: AsyncSession, customer_ids: Sequence[UUID]) -> None:
    """Tells every service, and this one's own scope, the present state of these customers."""
    rows = await session.execute(
        select(Customer, Branch.branch_path)
        .join(Branch, Branch.branch_id == Customer.branch_id)
        .where(Customer.customer_id == any_(literal(list(customer_ids), ARRAY(Uuid))))
        .order_by(Customer.customer_id)
        .execution_options(populate_existing=True)
    )
    events = [
        CustomerChanged(
            customer_id=customer.customer_id,
            revision=customer.version,
            customer_number=customer.customer_number,
            branch_id=customer.branch_id,
            branch_path=tuple(branch_path),
            manager_id=customer.manager_id,
            deputy_manager_id=customer.deputy_manager_id,
            customer_since=customer.customer_since,
            left_on=customer.left_on,
        )
        for customer, branch_path in rows
    ]
    for event in events:
        publish(session, event)
    await keep_scope(session, events)


async def find_customers(session: AsyncSession, identities: set[tuple[str, str]]) -> dict[tuple[str, str], Customer]:
    """Customers by (source, party id)."""
    found = {}
    for source, party_ids in by_source(identities).items():
        query = select(Customer).where(Customer.source == source, Customer.party_id == any_of(party_ids))
        for customer in await session.scalars(query.execution_options(populate_existing=True)):
            found[source, customer.party_id] = customer
    return found


def hold_for_parties(
    received: Received, wanted: Sequence[tuple[str, str]], customers: dict[tuple[str, str], Any]
) -> bool:
    """Holds an event for the first party that is unknown; `wanted` are (party id, pointer). True if it is held."""
    for party_id, pointer in wanted:
        if (received.source, party_id) not in customers:
            received.hold("party", party_id, pointer)
            return True
    return received.outcome is not Outcome.APPLIED
