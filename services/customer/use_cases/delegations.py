"""Portfolios given into other hands for a time: a holiday, an illness. A delegation ends by itself."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import CustomerNotFound, DelegationNotFound, UnknownDelegate, UnknownManager
from services.customer.models import Branch, Customer, Manager
from services.customer.schemas import DelegationCreate
from services.customer.settings import CustomerSettings
from shared.auth.principal import Principal, Role
from shared.events.customer import PortfolioDelegated
from shared.ids import new_id
from shared.messaging.outbox import publish
from shared.scope import delegation
from shared.web.refusals import InvalidInput


async def delegate_portfolio(
    session: AsyncSession, actor: Principal, new: DelegationCreate, *, now: datetime, settings: CustomerSettings
) -> Row[Any]:
    """A manager delegates their own customers, a branch head those of a manager of their branch or one below it.

    Whose branch the delegate may be of follows from who delegates: a manager's colleague is of the same branch.

    Raises InvalidInput, UnknownManager, UnknownDelegate, CustomerNotFound.
    """
    starts_at = max(new.starts_at or now, now)
    if not starts_at < new.ends_at <= starts_at + timedelta(days=settings.delegation_days):
        detail = f"Is after the beginning, and at most {settings.delegation_days} days after it"
        raise InvalidInput.at("/ends_at", "not_a_delegations_end", detail)
    manager_id = new.manager_id or actor.staff_id
    assert manager_id is not None  # only programs have no staff id, and the route is not for them
    if actor.role is Role.MANAGER and manager_id != actor.staff_id:
        raise UnknownManager("A manager delegates their own customers.")
    path = await _branch_path(session, manager_id)
    if path is None or (actor.role is Role.BRANCH_HEAD and actor.branch_id not in path):
        raise UnknownManager
    theirs = await _branch_path(session, new.delegate_id, must_be_active=True)
    within = {Role.MANAGER: path[-1], Role.BRANCH_HEAD: actor.branch_id}.get(actor.role)
    if theirs is None or new.delegate_id == manager_id or (within is not None and within not in theirs):
        raise UnknownDelegate
    customer_ids = tuple(dict.fromkeys(new.customer_ids or ()))
    if customer_ids:
        of_manager = select(func.count()).where(
            Customer.customer_id.in_(customer_ids), Customer.manager_id == manager_id
        )
        if await session.scalar(of_manager) != len(customer_ids):
            raise CustomerNotFound
    made = PortfolioDelegated(
        delegation_id=new_id(),
        revision=1,
        manager_id=manager_id,
        delegate_id=new.delegate_id,
        starts_at=starts_at,
        ends_at=new.ends_at,
        delegated_by=actor.staff_id or actor.subject,
        customer_ids=customer_ids,
    )
    await session.execute(
        delegation.insert().values(
            delegation_id=made.delegation_id,
            revision=made.revision,
            manager_id=made.manager_id,
            delegate_id=made.delegate_id,
            customer_ids=list(customer_ids) or None,
            starts_at=made.starts_at,
            ends_at=made.ends_at,
            delegated_by=made.delegated_by,
        )
    )
    publish(session, made, occurred_at=now)
    return await get_delegation(session, made.delegation_id)


async def _branch_path(session: AsyncSession, manager_id: str, *, must_be_active: bool = False) -> list[str] | None:
    """Of the manager's branch, from the top to itself."""
    query = (
        select(Branch.branch_path)
        .join(Manager, Manager.branch_id == Branch.branch_id)
        .where(Manager.manager_id == manager_id)
    )
    return await session.scalar(query.where(Manager.is_active) if must_be_active else query)


async def get_delegation(session: AsyncSession, delegation_id: UUID) -> Row[Any]:
    """Raises DelegationNotFound."""
    found = await session.execute(select(delegation).where(delegation.c.delegation_id == delegation_id))
    row: Row[Any] | None = found.one_or_none()
    if row is None:
        raise DelegationNotFound
    return row


def delegations(*, now: datetime, is_over: bool | None) -> Select[Any]:
    """The query for a list of delegations: those that the reader made, was given, or oversees."""
    query = select(delegation)
    if is_over is not None:
        query = query.where(delegation.c.ends_at <= now if is_over else delegation.c.ends_at > now)
    return query


async def end_delegation(session: AsyncSession, delegation_id: UUID, *, now: datetime) -> Row[Any]:
    """Ends it now; one that is over stays as it is. Raises DelegationNotFound, also for the delegate."""
    row = await get_delegation(session, delegation_id)
    if row.ends_at <= now:
        return row
    ended = await session.execute(
        update(delegation)
        .where(delegation.c.delegation_id == delegation_id, delegation.c.ends_at > now)
        .values(ends_at=now, revision=delegation.c.revision + 1)
        .returning(delegation)
    )
    changed: Row[Any] | None = ended.one_or_none()
    if changed is None:
        raise DelegationNotFound
    publish(
        session,
        PortfolioDelegated(
            delegation_id=delegation_id,
            revision=changed.revision,
            manager_id=changed.manager_id,
            delegate_id=changed.delegate_id,
            starts_at=changed.starts_at,
            ends_at=changed.ends_at,
            delegated_by=changed.delegated_by,
            customer_ids=tuple(changed.customer_ids or ()),
        ),
        occurred_at=now,
    )
    return changed
