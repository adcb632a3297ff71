"""Accounts as far as the timeline tells of them: opened and closed."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.domain.timeline import Entry, EntryKind, start_of
from services.interaction.models import Account
from services.interaction.use_cases.rows import insert_rows
from services.interaction.use_cases.timeline import keep_entries, take_back_entries
from shared.events.customer import AccountChanged
from shared.revisions import newest


async def follow_accounts(session: AsyncSession, changes: Iterable[AccountChanged]) -> None:
    """Keeps each account at its greatest revision. A new holder takes the entries along."""
    latest = newest(changes, lambda event: event.account_id)
    if not latest:
        return
    upsert = insert_rows(Account, [_row(event) for event in latest.values()], key="account_id")
    changed = ("customer_id", "revision", "kind", "currency", "opened_on", "closed_on")
    kept = upsert.on_conflict_do_update(
        index_elements=["account_id"],
        set_={name: upsert.excluded[name] for name in changed},
        where=Account.revision < upsert.excluded.revision,
    ).returning(Account.account_id)
    moved = [latest[account_id] for account_id in await session.scalars(kept)]
    await keep_entries(session, [entry for event in moved for entry in _entries(event)])
    reopened = [event.account_id for event in moved if event.closed_on is None]
    await take_back_entries(session, EntryKind.ACCOUNT_CLOSED, reopened)


def _row(event: AccountChanged) -> dict[str, Any]:
    return {
        "account_id": event.account_id,
        "customer_id": event.customer_id,
        "revision": event.revision,
        "kind": event.kind.value,
        "currency": event.currency,
        "opened_on": event.opened_on,
        "closed_on": event.closed_on,
    }


def _entries(event: AccountChanged) -> list[Entry]:
    facts = {"kind": event.kind.value, "currency": event.currency}
    days = {EntryKind.ACCOUNT_OPENED: event.opened_on, EntryKind.ACCOUNT_CLOSED: event.closed_on}
    return [
        Entry(event.customer_id, kind, event.account_id, start_of(day), facts, subject_id=event.account_id)
        for kind, day in days.items()
        if day is not None
    ]
