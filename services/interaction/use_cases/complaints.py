"""Complaints, each at its greatest revision."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.domain.timeline import Entry, EntryKind
from services.interaction.models import Complaint
from services.interaction.use_cases.rows import insert_rows
from services.interaction.use_cases.timeline import keep_entries, take_back_entries
from shared.events import Delivery
from shared.events.interaction import ComplaintChanged
from shared.messaging.outbox import publish


async def change_complaints(session: AsyncSession, changes: Sequence[tuple[ComplaintChanged, Delivery[Any]]]) -> None:
    """Keeps and tells the states that are newer than what is known, with the event that caused each."""
    newest: dict[UUID, tuple[ComplaintChanged, Delivery[Any]]] = {}
    for event, cause in changes:
        known = newest.get(event.complaint_id)
        if known is None or known[0].revision < event.revision:
            newest[event.complaint_id] = event, cause
    if not newest:
        return
    upsert = insert_rows(Complaint, [_row(event) for event, _ in newest.values()], key="complaint_id")
    changed = ("customer_id", "revision", "opened_at", "resolved_at", "outcome")
    kept = upsert.on_conflict_do_update(
        index_elements=["complaint_id"],
        set_={name: upsert.excluded[name] for name in changed},
        where=Complaint.revision < upsert.excluded.revision,
    ).returning(Complaint.complaint_id)
    moved = set(await session.scalars(kept))
    events = []
    for complaint_id, (event, cause) in newest.items():
        if complaint_id in moved:
            publish(session, event, cause=cause)
            events.append(event)
    await keep_entries(session, [entry for event in events for entry in _entries(event)])
    reopened = [event.complaint_id for event in events if event.resolved_at is None]
    await take_back_entries(session, EntryKind.COMPLAINT_RESOLVED, reopened)


def _row(event: ComplaintChanged) -> dict[str, Any]:
    return {
        "complaint_id": event.complaint_id,
        "customer_id": event.customer_id,
        "revision": event.revision,
        "opened_at": event.opened_at,
        "resolved_at": event.resolved_at,
        "outcome": event.outcome.value if event.outcome else None,
    }


def _entries(event: ComplaintChanged) -> list[Entry]:
    complaint_id = event.complaint_id
    entries = [
        Entry(event.customer_id, EntryKind.COMPLAINT_OPENED, complaint_id, event.opened_at, {}, subject_id=complaint_id)
    ]
    if event.resolved_at is not None:
        facts = {"outcome": event.outcome.value if event.outcome else None}
        entries.append(
            Entry(
                event.customer_id,
                EntryKind.COMPLAINT_RESOLVED,
                complaint_id,
                event.resolved_at,
                facts,
                subject_id=complaint_id,
            )
        )
    return entries


def complaints_of_customer(customer_id: UUID, *, is_open: bool | None) -> Select[Complaint]:
    """The query for a customer's complaints."""
    query = select(Complaint).where(Complaint.customer_id == customer_id)
    if is_open is not None:
        query = query.where(Complaint.resolved_at.is_(None) if is_open else Complaint.resolved_at.is_not(None))
    return query
