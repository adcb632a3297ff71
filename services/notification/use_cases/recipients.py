"""The members of staff who can be told."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, and_, any_, func, not_, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.models import Recipient
from shared.events.customer import ManagerChanged
from shared.scope import customer_scope, delegation


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


def looks_after(now: datetime) -> ColumnElement[bool]:
    """Whether a joined `recipient` may be told of a joined customer: as row-level security would let them see it."""
    scope, given = customer_scope.c, delegation.c
    delegated = select(given.delegation_id).where(
        given.delegate_id == Recipient.staff_id,
        given.manager_id == scope.manager_id,
        given.starts_at <= now,
        given.ends_at > now,
        or_(given.customer_ids.is_(None), scope.customer_id == any_(given.customer_ids)),
    )
    return func.coalesce(
        and_(
            not_(scope.restricted),
            or_(
                Recipient.staff_id == scope.manager_id,
                Recipient.staff_id == scope.deputy_manager_id,
                and_(Recipient.is_branch_head, Recipient.branch_id == any_(scope.branch_path)),
                delegated.exists(),
            ),
        ),
        False,
    )
