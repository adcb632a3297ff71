"""Relationship managers and branch heads, as the core states them."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import ManagerNotFound
from services.customer.models import Manager
from services.customer.use_cases.branches import find_branches
from services.customer.use_cases.receiving import Arrived, newest_revisions
from services.customer.use_cases.rows import ANY_ID, as_json, upsert
from shared.events.corebanking import ManagerRecorded
from shared.events.customer import ManagerChanged
from shared.masking import masked
from shared.messaging.outbox import publish

_KNOWN = text(
    "select manager_id, revision, fingerprint from manager"  # noqa: S608 - no value is in it
    f" where manager_id {ANY_ID} order by manager_id for no key update"
)


@masked
class _Row(msgspec.Struct):
    manager_id: str
    revision: int
    fingerprint: int
    branch_id: str
    name: str
    email: str
    is_branch_head: bool
    is_active: bool


_WRITE = upsert("manager", ["manager_id"], _Row.__struct_fields__)


async def record_managers(session: AsyncSession, arrived: Arrived) -> None:
    recorded = arrived.of(ManagerRecorded)
    if not recorded:
        return
    branch_ids = await find_branches(session, {event.branch_id for _, event in recorded})
    for received, event in recorded:
        if event.branch_id not in branch_ids:
            received.hold("branch", event.branch_id, "/data/branch_id")
    recorded = arrived.of(ManagerRecorded)
    found = await session.execute(_KNOWN, {"ids": as_json({event.manager_id for _, event in recorded})})
    known = {manager_id: (revision, fingerprint) for manager_id, revision, fingerprint in found}
    newest = newest_revisions(recorded, known, lambda event: event.manager_id)
    rows = []
    for manager_id, (received, event) in sorted(newest.items()):
        rows.append(
            _Row(
                manager_id=manager_id,
                revision=event.revision,
                fingerprint=received.fingerprint,
                branch_id=event.branch_id,
                name=event.name,
                email=event.email,
                is_branch_head=event.is_branch_head,
                is_active=event.is_active,
            )
        )
        publish(
            session,
            ManagerChanged(
                manager_id=manager_id,
                revision=event.revision,
                branch_id=event.branch_id,
                email=event.email,
                is_branch_head=event.is_branch_head,
                is_active=event.is_active,
            ),
        )
    if rows:
        await session.execute(_WRITE, {"rows": as_json(rows)})


async def get_manager(session: AsyncSession, manager_id: str) -> Manager:
    """Raises ManagerNotFound."""
    manager = await session.get(Manager, manager_id)
    if manager is None:
        raise ManagerNotFound
    return manager
