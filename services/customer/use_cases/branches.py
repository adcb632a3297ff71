"""Branches and what lies below what, as the core states it."""

from collections.abc import Container, Iterable, Sequence

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import BranchNotFound
from services.customer.models import Branch
from services.customer.use_cases.parties import announce_customers
from services.customer.use_cases.receiving import Arrived, Received, newest_revisions
from services.customer.use_cases.rows import ANY_ID, as_json
from shared.events.corebanking import BranchRecorded
from shared.events.customer import BranchChanged
from shared.messaging.outbox import publish

MAX_DEPTH = 10


async def record_branches(session: AsyncSession, arrived: Arrived) -> None:
    """Opens branches and moves them, each with all that lies below it."""
    if not arrived.of(BranchRecorded):
        return
    found = await session.scalars(select(Branch).order_by(Branch.branch_id).with_for_update(key_share=True))
    branches = {branch.branch_id: branch for branch in found}
    _hold_for_parents(arrived.of(BranchRecorded), branches)
    known = {branch.branch_id: (branch.revision, branch.fingerprint) for branch in branches.values()}
    newest = newest_revisions(arrived.of(BranchRecorded), known, lambda event: event.branch_id)
    changed: dict[str, Branch] = {}
    moved: set[str] = set()
    while ready := [each for each in newest.values() if _is_grounded(each[1], branches)]:
        for received, event in ready:
            del newest[event.branch_id]
            path = _path(received, event, branches)
            if path is None:
                continue
            branch = branches.get(event.branch_id)
            if branch is None:
                branch = branches[event.branch_id] = Branch(branch_id=event.branch_id, branch_path=path)
                session.add(branch)
                arrived.brought.add(f"branch:{event.branch_id}")
            branch.revision, branch.fingerprint = event.revision, received.fingerprint
            branch.name, branch.city, branch.parent_branch_id = event.name, event.city, event.parent_branch_id
            changed[event.branch_id] = branch
            if branch.branch_path != path:
                for below in _below(event.branch_id, branches):
                    below.branch_path = [*path, *below.branch_path[len(branch.branch_path) :]]
                    changed[below.branch_id] = below
                    moved.add(below.branch_id)
                branch.branch_path = path
                moved.add(event.branch_id)
    for received, event in newest.values():
        received.hold("branch", event.parent_branch_id or "", "/data/parent_branch_id")
    await session.flush()
    for branch in changed.values():
        path_now = tuple(branch.branch_path)
        publish(session, BranchChanged(branch_id=branch.branch_id, revision=branch.revision, branch_path=path_now))
    await _tell_of_customers(session, moved)


def _is_grounded(event: BranchRecorded, there: Container[str]) -> bool:
    return event.parent_branch_id is None or event.parent_branch_id in there


def _hold_for_parents(recorded: Sequence[tuple[Received, BranchRecorded]], branches: Iterable[str]) -> None:
    """Before the newest revisions are chosen: one that is held must not hide an older one that is not."""
    there = set(branches)
    waiting = list(recorded)
    while arriving := {event.branch_id for _, event in waiting if _is_grounded(event, there)}:
        waiting = [each for each in waiting if not _is_grounded(each[1], there)]
        there |= arriving
    for received, event in waiting:
        received.hold("branch", event.parent_branch_id or "", "/data/parent_branch_id")


def _path(received: Received, event: BranchRecorded, branches: dict[str, Branch]) -> list[str] | None:
    """Where the branch is to be, from the top to itself; None, and the event parked, where none can be."""
    parent = branches[event.parent_branch_id] if event.parent_branch_id else None
    path = [*(parent.branch_path if parent else ()), event.branch_id]
    branch = branches.get(event.branch_id)
    deepest = len(path)
    if branch is not None and len(path) > len(branch.branch_path):
        below = max((len(one.branch_path) for one in _below(event.branch_id, branches)), default=0)
        deepest += max(0, below - len(branch.branch_path))
    if path.count(event.branch_id) > 1:
        received.park("branch_cycle", "/data/parent_branch_id", "a branch cannot lie above itself")
    elif deepest > MAX_DEPTH:
        received.park("branch_too_deep", "/data/parent_branch_id", f"at most {MAX_DEPTH} branches, one above another")
    else:
        return path
    return None


def _below(branch_id: str, branches: dict[str, Branch]) -> list[Branch]:
    return [one for one in branches.values() if one.branch_id != branch_id and branch_id in one.branch_path]


_CUSTOMERS_OF = text(
    "select customer_id from customer"  # noqa: S608 - no value is in it
    f" where branch_id {ANY_ID} order by customer_id for no key update"
)
_NEXT_VERSION = text(
    "update customer set version = version + 1, updated_at = now() where customer_id = any(:customers)"
)


async def _tell_of_customers(session: AsyncSession, branch_ids: set[str]) -> None:
    """Those who look after the customers of moved branches may be others now."""
    if branch_ids:
        customers = (await session.scalars(_CUSTOMERS_OF, {"ids": as_json(sorted(branch_ids))})).all()
        await session.execute(_NEXT_VERSION, {"customers": customers})
        await announce_customers(session, customers)


_IDS = text(f"select branch_id from branch where branch_id {ANY_ID}")  # noqa: S608 - no value is in it


async def find_branches(session: AsyncSession, branch_ids: Iterable[str]) -> set[str]:
    """Those of the branches that are there."""
    return set(await session.scalars(_IDS, {"ids": as_json(branch_ids)}))


async def get_branch(session: AsyncSession, branch_id: str) -> Branch:
    """Raises BranchNotFound."""
    branch = await session.get(Branch, branch_id)
    if branch is None:
        raise BranchNotFound
    return branch
