"""The members of staff who can be told."""

from collections.abc import Iterable

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.models import Recipient
from shared.events.customer import ManagerChanged


async def keep_recipients(session: AsyncSession, changes: Iterable[ManagerChanged]) -> None:
    """Keeps each recipient at their greatest revision."""
    latest: dict[str, ManagerChanged] = {}
    for event in changes:
        known = latest.get(event.manager_id)
        if known is None or known.revision < event.revision:
            latest[event.manager_id] = event
    rows = [
        {
            "staff_id": event.manager_id,
            "revision": event.revision,
            "branch_id": event.branch_id,
            "email": event.email,
            "is_branch_head": event.is_branch_head,
            "is_active": event.is_active,
        }
        for _, event in sorted(latest.items())
    ]
    if not rows:
        return
    upsert = insert(Recipient)
    await session.execute(
        upsert.on_conflict_do_update(
            index_elements=["staff_id"],
            set_={name: upsert.excluded[name] for name in rows[0] if name != "staff_id"},
            where=Recipient.revision < upsert.excluded.revision,
        ),
        rows,
    )
