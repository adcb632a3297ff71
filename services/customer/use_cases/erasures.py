"""Erasure: asked for by head office, done by every service, and certified when each has told what it deleted."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import CustomerNotFound, ErasureNotFound
from services.customer.models import Account, Customer, ErasedIdentity, Erasure, ErasurePart
from services.customer.use_cases.ledger_receipts import write_ledger_receipts
from services.customer.use_cases.receiving import Arrived, Received
from shared.auth.principal import Principal
from shared.events import Delivery
from shared.events.customer import CustomerErased
from shared.events.erasure import Purge
from shared.ids import new_id
from shared.messaging.outbox import publish
from shared.sealing.data_keys import keys_of

SERVICES = ("customer", "interaction", "scoring", "notification")
"""Who has to tell what they deleted before an erasure is complete."""


class Progress(NamedTuple):
    erasure: Erasure
    parts: Sequence[ErasurePart]


async def erase_customer(
    session: AsyncSession, actor: Principal, customer_id: UUID, reason: str, *, now: datetime, request_id: str | None
) -> Progress:
    """Asked for again it is the same erasure. Raises CustomerNotFound."""
    known = await session.scalar(select(Erasure).where(Erasure.customer_id == customer_id))
    if known is not None:
        return await _progress(session, known)
    customer = await session.scalar(
        select(Customer).where(Customer.customer_id == customer_id).with_for_update(key_share=True)
    )
    if customer is None:
        raise CustomerNotFound
    erasure = Erasure(
        erasure_id=new_id(),
        customer_id=customer_id,
        reason=reason,
        requested_at=now,
        requested_by=actor.subject,
        audit_reference=request_id,
    )
    session.add(erasure)
    await session.flush()
    publish(
        session,
        CustomerErased(customer_id=customer_id, erasure_id=erasure.erasure_id, erased_at=now),
        occurred_at=now,
    )
    return Progress(erasure, [])


async def get_erasure(session: AsyncSession, customer_id: UUID) -> Progress:
    """Raises ErasureNotFound."""
    erasure = await session.scalar(select(Erasure).where(Erasure.customer_id == customer_id))
    if erasure is None:
        raise ErasureNotFound
    return await _progress(session, erasure)


async def _progress(session: AsyncSession, erasure: Erasure) -> Progress:
    parts = await session.scalars(
        select(ErasurePart).where(ErasurePart.erasure_id == erasure.erasure_id).order_by(ErasurePart.service)
    )
    return Progress(erasure, parts.all())


_COMPLETE = text(
    "update erasure e set completed_at = p.purged_at from ("
    "  select erasure_id, max(purged_at) as purged_at from erasure_part group by erasure_id having count(*) = :services"
    " ) p where p.erasure_id = e.erasure_id and e.completed_at is null and e.erasure_id = any(:erasure_ids)"
)


async def note_purges(session: AsyncSession, deliveries: Sequence[Delivery[Purge]]) -> None:
    """Handler of every service's CustomerPurged; what all four have told completes an erasure."""
    known = await session.scalars(
        select(Erasure)
        .where(Erasure.erasure_id.in_([delivery.event.erasure_id for delivery in deliveries]))
        .order_by(Erasure.erasure_id)
        .with_for_update()
    )
    erasure_ids = [erasure.erasure_id for erasure in known]
    rows = [
        {
            "erasure_id": event.erasure_id,
            "service": event.source,
            "purged_at": event.purged_at,
            "rows": {table.table: table.rows for table in event.tables},
        }
        for event in (delivery.event for delivery in deliveries)
        if event.erasure_id in erasure_ids
    ]
    if rows:
        await session.execute(insert(ErasurePart).on_conflict_do_nothing(), rows)
        await session.execute(_COMPLETE, {"services": len(SERVICES), "erasure_ids": erasure_ids})


async def remember_erased(session: AsyncSession, customer_id: UUID) -> None:
    """Before the customer's rows go: keyed hashes of what the core calls them and their accounts, to know it again.

    And receipts of what is in the ledger, which outlive it.
    """
    customers = await session.execute(
        select(Customer.source, Customer.party_id).where(Customer.customer_id == customer_id).with_for_update()
    )
    accounts = await session.execute(
        select(Account.source, Account.core_account_id)
        .where(Account.customer_id == customer_id)
        .order_by(Account.account_id)
        .with_for_update()
    )
    await write_ledger_receipts(session, customer_id)
    named = [("party", *row) for row in customers] + [("account", *row) for row in accounts]
    if named:
        index = await keys_of(session).make_index(session)
        rows = [{"token": index.token(*_identity(*each))} for each in named]
        await session.execute(insert(ErasedIdentity).on_conflict_do_nothing(), rows)


def _identity(kind: str, source: str, core_id: str) -> tuple[str, str]:
    return f"erased {kind}", f"{source}\0{core_id}"


async def erased_of(session: AsyncSession, source: str, kind: str, core_ids: Iterable[str]) -> set[str]:
    """Those of the core's ids, of a `party` or an `account`, that were erased. Ask only for what is not known."""
    if await session.scalar(select(ErasedIdentity.token).limit(1)) is None:
        return set()
    index = await keys_of(session).make_index(session)
    by_token = {index.token(*_identity(kind, source, core_id)): core_id for core_id in core_ids}
    found = await session.scalars(select(ErasedIdentity.token).where(ErasedIdentity.token.in_(list(by_token))))
    return {by_token[bytes(token)] for token in found}


async def let_go_of_erased(session: AsyncSession, arrived: Arrived) -> None:
    """What would be held for a party or an account that was erased is not kept: it never comes."""
    waiting: dict[str, dict[str, list[Received]]] = {"party": {}, "account": {}}
    for event in arrived.held():
        kind, _, core_id = (event.waits_for or "").partition(":")
        if kind in waiting:
            waiting[kind].setdefault(core_id, []).append(event)
    for kind, by_id in waiting.items():
        if by_id:
            for core_id in await erased_of(session, arrived.source, kind, by_id):
                for event in by_id[core_id]:
                    event.is_a_duplicate()
