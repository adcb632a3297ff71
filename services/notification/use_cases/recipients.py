"""The members of staff who can be told."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import ColumnElement, and_, any_, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.models import Recipient
from shared.events.customer import ManagerChanged
from shared.revisions import keep_newest, newest
from shared.scope import customer_scope, delegation


async def keep_recipients(session: AsyncSession, changes: Iterable[ManagerChanged]) -> None:
    """Keeps each recipient at their greatest revision."""
    rows = [
        {
            "staff_id": event.manager_id,
            "revision": event.revision,
            "branch_id": event.branch_id,
            "email": event.email,
            "is_branch_head": event.is_branch_head,
            "is_active": event.is_active,
        }
        for _, event in sorted(newest(changes, lambda event: event.manager_id).items())
    ]
    await keep_newest(session, Recipient.metadata.tables["recipient"], rows)


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
