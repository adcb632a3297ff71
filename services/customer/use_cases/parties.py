"""Parties of the core become customers; every service hears who looks after them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, Uuid, any_, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.domain.personal import PersonalDetails
from services.customer.models import Branch, Customer
from services.customer.use_cases.erasures import erased_of
from services.customer.use_cases.personal_details import index_personal_details, seal
from services.customer.use_cases.receiving import Arrived, Received, newest_revisions
from services.customer.use_cases.rows import ANY_ID, as_json, upsert
from shared.events.corebanking import PartyRecorded
from shared.events.customer import CustomerChanged
from shared.ids import new_id
from shared.messaging.outbox import publish
from shared.scope import keep_scope
from shared.sealing.data_keys import DataKey, keys_of


class _Row(msgspec.Struct):
    customer_id: UUID
    source: str
    party_id: str
    revision: int
    fingerprint: int
    version: int
    customer_number: str
    branch_id: str
    manager_id: str | None
    deputy_manager_id: str | None
    is_assigned_here: bool
    sealed: str
    household_id: str | None
    customer_since: date | None
    left_on: date | None


_WRITE = upsert("customer", ["customer_id"], _Row.__struct_fields__, touch="updated_at = now()")
# Whoever moves a branch locks it for update: until they are done nobody can read its path here and tell the old one.
_BRANCHES = text(
    "select branch_id from branch"  # noqa: S608 - no value is in it
    f" where branch_id {ANY_ID} order by branch_id for share"
)
_KNOWN = text(
    "select party_id, customer_id, revision, fingerprint, version, manager_id, deputy_manager_id, is_assigned_here"  # noqa: S608 - no value is in it
    f" from customer where source = :source and party_id {ANY_ID}"
)


async def record_parties(session: AsyncSession, arrived: Arrived) -> None:
    """Registers new customers and changes those whose party has a newer revision."""
    recorded = arrived.of(PartyRecorded)
    if not recorded:
        return
    named = as_json({event.branch_id for _, event in recorded})
    branch_ids = set(await session.scalars(_BRANCHES, {"ids": named}))
    for received, event in recorded:
        if event.branch_id not in branch_ids:
            received.hold("branch", event.branch_id, "/data/branch_id")
    recorded = arrived.of(PartyRecorded)
    wanted = {"source": arrived.source, "ids": as_json({event.party_id for _, event in recorded})}
    known = {row.party_id: row for row in await session.execute(_KNOWN, wanted)}
    revisions = {party_id: (row.revision, row.fingerprint) for party_id, row in known.items()}
    newest = newest_revisions(recorded, revisions, lambda event: event.party_id)
    await _let_go_of_erased(session, arrived.source, known, newest)
    people = {
        known[party_id].customer_id if party_id in known else new_id(): (received, event, known.get(party_id))
        for party_id, (received, event) in newest.items()
    }
    keys = await keys_of(session).make(session, people)
    for customer_id in people.keys() - keys.keys():
        received, *_ = people.pop(customer_id)
        received.is_a_duplicate()  # of who was erased: what the bank's core still tells is not kept
    if not people:
        return
    rows = [_row(keys[customer_id], *people[customer_id]) for customer_id in sorted(people)]
    await session.execute(_WRITE, {"rows": as_json(rows)})
    details = {customer_id: _details(event) for customer_id, (_, event, _) in people.items()}
    await index_personal_details(session, details)
    arrived.brought.update(f"party:{row.party_id}" for row in rows if row.party_id not in known)
    await announce_customers(session, [row.customer_id for row in rows])


async def _let_go_of_erased(
    session: AsyncSession,
    source: str,
    known: Mapping[str, Row[Any]],
    newest: dict[str, tuple[Received, PartyRecorded]],
) -> None:
    """What the bank's core still tells of who was erased is not kept."""
    unknown = newest.keys() - known.keys()
    for party_id in await erased_of(session, source, "party", unknown) if unknown else ():
        received, _ = newest.pop(party_id)
        received.is_a_duplicate()


def _row(key: DataKey, received: Received, event: PartyRecorded, known: Row[Any] | None) -> _Row:
    looked_after: Any = known if known is not None and known.is_assigned_here else event
    return _Row(
        customer_id=key.customer_id,
        source=received.source,
        party_id=event.party_id,
        revision=event.revision,
        fingerprint=received.fingerprint,
        version=known.version + 1 if known else 1,
        customer_number=event.customer_number,
        branch_id=event.branch_id,
        manager_id=looked_after.manager_id,
        deputy_manager_id=looked_after.deputy_manager_id,
        is_assigned_here=looked_after is known,
        sealed=f"\\x{seal(key, _details(event)).hex()}",
        household_id=event.household_id,
        customer_since=event.customer_since,
        left_on=event.left_on,
    )


def _details(event: PartyRecorded) -> PersonalDetails:
    return PersonalDetails(
        name=event.name,
        birth_on=event.birth_on,
        phone=event.phone,
        email=event.email,
        address=event.address,
        document_number=event.document_number,
    )


async def announce_customers(session: AsyncSession, customer_ids: Sequence[UUID]) -> None:
    """Tells every service, and this one's own scope, the present state of these customers."""
    rows = await session.execute(
        select(
            Customer.customer_id,
            Customer.version,
            Customer.customer_number,
            Customer.branch_id,
            Branch.branch_path,
            Customer.manager_id,
            Customer.deputy_manager_id,
            Customer.customer_since,
            Customer.left_on,
            Customer.restricted_at.is_not(None),
        )
        .join(Branch, Branch.branch_id == Customer.branch_id)
        .where(Customer.customer_id == any_(literal(list(customer_ids), ARRAY(Uuid))))
        .order_by(Customer.customer_id)
    )
    events = [
        CustomerChanged(
            customer_id=customer_id,
            revision=version,
            customer_number=customer_number,
            branch_id=branch_id,
            branch_path=tuple(branch_path),
            manager_id=manager_id,
            deputy_manager_id=deputy_manager_id,
            customer_since=customer_since,
            left_on=left_on,
            restricted=restricted,
        )
        for (
            customer_id,
            version,
            customer_number,
            branch_id,
            branch_path,
            manager_id,
            deputy_manager_id,
            customer_since,
            left_on,
            restricted,
        ) in rows
    ]
    for event in events:
        publish(session, event)
    await keep_scope(session, events)


_IDS = text(
    f"select party_id, customer_id from customer where source = :source and party_id {ANY_ID}"  # noqa: S608 - no value is in it
)


async def find_customers(session: AsyncSession, source: str, party_ids: Iterable[str]) -> dict[str, UUID]:
    """The customers' ids by the core's."""
    rows = await session.execute(_IDS, {"source": source, "ids": as_json(party_ids)})
    return {row.party_id: row.customer_id for row in rows}
