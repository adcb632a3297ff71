"""Branches and the managers who work in them, as the core states them."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import BranchNotFound, ManagerNotFound
from services.customer.models import Branch, Customer, Manager
from services.customer.use_cases.parties import announce_customers
from services.customer.use_cases.receiving import Arrivals, Received, newest_revisions, of_type
from shared.events.corebanking import BranchRecorded, ManagerRecorded
from shared.events.customer import BranchChanged, ManagerChanged
from shared.messaging.outbox import publish

MAX_DEPTH = 10


async def record_branches(session: AsyncSession, received: Sequence[Received], arrivals: Arrivals) -> None:
    arrived = of_type(received, BranchRecorded)
    if not arrived:
        return
    branches = {branch.branch_id: branch for branch in await session.scalars(select(Branch).with_for_update())}
    known = {branch_id: (branch.revision, branch.fingerprint) for branch_id, branch in branches.items()}
    waiting = newest_revisions(arrived, known, lambda _received, event: event.branch_id)
    there = set(branches)
    while ready := [
        branch_id for branch_id, (_r, event) in waiting.items() if event.parent_branch_id in {None, *there}
    ]:
        for branch_id in ready:
            there.add(branch_id)
            event_received, event = waiting.pop(branch_id)
            parent = branches.get(event.parent_branch_id) if event.parent_branch_id else None
            path = [*(parent.branch_path if parent else ()), branch_id]
            if len(set(path)) < len(path) or len(path) > MAX_DEPTH:
                event_received.park("branch_cycle", "/data/parent_branch_id", "a branch cannot be above itself")
                continue
            branch = branches.get(branch_id)
            if branch is None:
                arrivals.add(event_received.source, "branch", branch_id)
                branch = branches[branch_id] = Branch(branch_id=branch_id)
                session.add(branch)
            moved = branch.branch_path is not None and branch.branch_path != path
            branch.revision, branch.fingerprint = event.revision, event_received.fingerprint
            branch.name, branch.city, branch.parent_branch_id = event.name, event.city, event.parent_branch_id
            branch.branch_path = path
            publish(session, BranchChanged(branch_id=branch_id, revision=event.revision, branch_path=tuple(path)))
            await session.flush()
            if moved:
                await _move_below(session, branch, branches)
    for event_received, event in waiting.values():
        event_received.hold("branch", event.parent_branch_id, "/data/parent_branch_id")


async def _move_below(session: AsyncSession, branch: Branch, branches: dict[str, Branch]) -> None:
    """Gives the branches below a moved one their new paths, and tells of their customers' new scope."""
    moved = [branch]
    for above in moved:
        for below in branches.values():
            if below.parent_branch_id == above.branch_id and below not in moved:
                below.branch_path = [*above.branch_path, below.branch_id]
                moved.append(below)
                publish(
                    session,
                    BranchChanged(
                        branch_id=below.branch_id, revision=below.revision, branch_path=tuple(below.branch_path)
                    ),
                )
    customers = await session.scalars(
        update(Customer)
        .where(Customer.branch_id.in_([b.branch_id for b in moved]))
        .values(version=Customer.version + 1)
        .returning(Customer.customer_id)
    )
    await announce_customers(session, sorted(customers))


async def record_managers(session: AsyncSession, received: Sequence[Received]) -> None:
    arrived = of_type(received, ManagerRecorded)
    if not arrived:
        return
    branch_ids = set(await session.scalars(select(Branch.branch_id)))
    managers = {m.manager_id: m for m in await session.scalars(select(Manager).with_for_update())}
    known = {manager_id: (m.revision, m.fingerprint) for manager_id, m in managers.items()}
    for event_received, event in arrived:
        if event.branch_id not in branch_ids:
            event_received.hold("branch", event.branch_id, "/data/branch_id")
    settled = of_type(received, ManagerRecorded)
    newest = newest_revisions(settled, known, lambda _received, event: event.manager_id)
    rows = []
    for manager_id, (event_received, event) in sorted(newest.items()):
        rows.append(
            {
                "manager_id": manager_id,
                "revision": event.revision,
                "fingerprint": event_received.fingerprint,
                "branch_id": event.branch_id,
                "name": event.name,
                "email": event.email,
                "is_branch_head": event.is_branch_head,
                "is_active": event.is_active,
            }
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
        upsert = insert(Manager)
        await session.execute(
            upsert.on_conflict_do_update(
                index_elements=["manager_id"], set_={name: upsert.excluded[name] for name in rows[0]}
            ),
            rows,
        )


async def get_branch(session: AsyncSession, branch_id: str) -> Branch:
    """Raises BranchNotFound."""
    branch = await session.get(Branch, branch_id)
    if branch is None:
        raise BranchNotFound
    return branch


async def get_manager(session: AsyncSession, manager_id: str) -> Manager:
    """Raises ManagerNotFound."""
    manager = await session.get(Manager, manager_id)
    if manager is None:
        raise ManagerNotFound
    return manager
