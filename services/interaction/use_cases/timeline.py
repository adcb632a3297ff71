"""What happened around a customer, one entry each."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Uuid, any_, bindparam, delete, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.domain.timeline import Entry, EntryKind
from services.interaction.models import TimelineEntry
from services.interaction.use_cases.rows import insert_rows
from shared.ids import derived_id


async def add_entries(session: AsyncSession, entries: Sequence[Entry]) -> None:
    """For what never changes: an entry that is there stays as it is."""
    if rows := _rows(entries):
        insert = insert_rows(TimelineEntry, rows, key="entry_id")
        await session.execute(insert.on_conflict_do_nothing(index_elements=["entry_id"]))


async def keep_entries(session: AsyncSession, entries: Sequence[Entry]) -> None:
    """For what follows a state: the caller has made sure that this is the newest."""
    if rows := _rows(entries):
        insert = insert_rows(TimelineEntry, rows, key="entry_id")
        changed = ("customer_id", "occurred_at", "facts")
        await session.execute(
            insert.on_conflict_do_update(
                index_elements=["entry_id"], set_={name: insert.excluded[name] for name in changed}
            )
        )


async def take_back_entries(session: AsyncSession, kind: EntryKind, identities: Collection[UUID]) -> None:
    """For a state that says that this has not happened after all."""
    if identities:
        entry_ids = sorted(derived_id(identity, kind) for identity in identities)
        given = bindparam(None, entry_ids, type_=ARRAY(Uuid))
        await session.execute(delete(TimelineEntry).where(TimelineEntry.entry_id == any_(given)))


def _rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One row an entry; of one that is told twice the last."""
    rows = (
        {
            "entry_id": derived_id(entry.identity, entry.kind),
            "customer_id": entry.customer_id,
            "kind": entry.kind.value,
            "occurred_at": entry.occurred_at,
            "subject_id": entry.subject_id,
            "alert_id": entry.alert_id,
            "facts": dict(entry.facts),
        }
        for entry in entries
    )
    return list({row["entry_id"]: row for row in rows}.values())


def timeline(customer_id: UUID, kinds: Sequence[EntryKind]) -> Select[TimelineEntry]:
    """The query for a customer's timeline; of all kinds when none is named."""
    query = select(TimelineEntry).where(TimelineEntry.customer_id == customer_id)
    return query.where(TimelineEntry.kind.in_([kind.value for kind in kinds])) if kinds else query
