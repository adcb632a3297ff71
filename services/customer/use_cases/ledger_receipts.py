"""Receipts that are rows of the ledger: of events whose ids say no more than which transaction they post.

A history's rows have such ids. What a receipt would tell of one that was applied, its posting tells already: so it has
no row of its own, which would cost PostgreSQL more than the posting does.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.models import ReceivedEvent
from services.customer.use_cases.receiving import Outcome
from services.customer.use_cases.rows import as_json
from services.customer.use_cases.transaction_ids import PREFIX, Transaction, transaction_named_by
from shared.events.corebanking import TransactionPosted

MOST_UNSETTLED = 10_000

_KNOWN = text(
    "select n.event_id, r.fingerprint, r.posted_at from json_to_recordset(cast(:named as json))"
    "  n (event_id text, account_id text, transaction_id text)"
    " cross join lateral (select p.fingerprint, p.posted_at from account a join posting p using (account_id)"
    "  where a.source = :source and a.core_account_id = n.account_id and p.core_transaction_id = n.transaction_id"
    "  and p.is_receipt offset 0) r"
)


async def receipts_in_ledger(session: AsyncSession, source: str, event_ids: Iterable[str]) -> dict[str, ReceivedEvent]:
    """Of those of the events that were applied so, by their ids: as the rows that they would be."""
    named = [
        {"event_id": event_id, **which._asdict()}
        for event_id in event_ids
        if (which := transaction_named_by(event_id)) is not None
    ]
    if not named:
        return {}
    return {
        row.event_id: ReceivedEvent(
            source=source,
            event_id=row.event_id,
            type=TransactionPosted.TYPE,
            fingerprint=row.fingerprint,
            outcome=Outcome.APPLIED.value,
            received_at=row.posted_at,
        )
        for row in await session.execute(_KNOWN, {"source": source, "named": as_json(named)})
    }


_UNSETTLED = text(
    "select event_id from received_event where source = :source and outcome in ('held', 'parked')"
    " and starts_with(event_id, :prefix) limit :most"
)


async def unsettled(session: AsyncSession, source: str) -> set[Transaction] | None:
    """Of events named by them that are held or parked; None when those are too many to know all.

    Such an id may come again, mended; no index of the ledger's would tell that it was here before.
    """
    given = {"source": source, "prefix": PREFIX, "most": MOST_UNSETTLED}
    event_ids = (await session.scalars(_UNSETTLED, given)).all()
    if len(event_ids) == MOST_UNSETTLED:
        return None
    return {which for event_id in event_ids if (which := transaction_named_by(event_id)) is not None}


_WRITE = text(
    "insert into received_event (source, event_id, type, fingerprint, outcome, received_at)"
    " select a.source, :prefix || a.core_account_id || '/' || p.core_transaction_id, :type, p.fingerprint, 'applied',"
    "  p.posted_at from account a join posting p on p.account_id = a.account_id"
    " where a.customer_id = :customer_id and p.is_receipt on conflict do nothing"
)


async def write_ledger_receipts(session: AsyncSession, customer_id: UUID) -> None:
    """Makes rows of the receipts of a customer's accounts, before their ledger goes."""
    given = {"customer_id": customer_id, "prefix": PREFIX, "type": TransactionPosted.TYPE}
    await session.execute(_WRITE, given)
