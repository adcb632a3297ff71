"""Customers as the branch sees them: found, read, and given to a manager. Row-level security bounds every query."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from services.customer.domain.names import end_of_prefix, phone_key, search_key
from services.customer.domain.personal import document_key
from services.customer.errors import CustomerNotFound, UnknownManager
from services.customer.models import Branch, Customer, Manager
from services.customer.schemas import AssignmentUpdate
from services.customer.use_cases.parties import announce_customers
from services.customer.use_cases.personal_details import (
    MOST_CANDIDATES,
    find_by_personal_details,
    open_personal_details,
)
from shared.auth.principal import Principal, Role
from shared.scope import visible_customers
from shared.web.etag import WritableTag

MOST_FOUND = 50


def customers(
    *, branch_id: str | None, manager_id: str | None, is_assigned: bool | None, has_left: bool | None
) -> Select[Customer]:
    """The query for a list of customers."""
    query = select(Customer).where(Customer.customer_id.in_(visible_customers()))
    if branch_id is not None:
        query = query.where(Customer.branch_id == branch_id)
    if manager_id is not None:
        query = query.where(Customer.manager_id == manager_id)
    if is_assigned is not None:
        query = query.where(Customer.manager_id.is_not(None) if is_assigned else Customer.manager_id.is_(None))
    if has_left is not None:
        query = query.where(Customer.left_on.is_not(None) if has_left else Customer.left_on.is_(None))
    return query


async def get_customer(session: AsyncSession, customer_id: UUID) -> Customer:
    """Raises CustomerNotFound."""
    customer = await session.get(Customer, customer_id)
    if customer is None:
        raise CustomerNotFound
    await open_personal_details(session, [customer])
    return customer


async def look_up_customers(session: AsyncSession, customer_ids: Sequence[UUID]) -> Sequence[Customer]:
    """Those of the customers that the reader may see, in the order asked for."""
    found = await session.scalars(select(Customer).where(Customer.customer_id.in_(customer_ids)))
    by_id = {customer.customer_id: customer for customer in found}
    await open_personal_details(session, list(by_id.values()))
    return [by_id[customer_id] for customer_id in dict.fromkeys(customer_ids) if customer_id in by_id]


async def search_customers(session: AsyncSession, query: str) -> Sequence[Customer]:
    """Up to 50 who are called so, or whose number begins so, or whose phone or document it is; by name."""
    asked = search_key(query)
    candidates = await find_by_personal_details(session, query)
    found = (
        await session.scalars(
            select(Customer)
            .where(
                or_(Customer.customer_id.in_(candidates), _begins(Customer.customer_number, query)),
                Customer.customer_id.in_(visible_customers()),
            )
            .order_by(Customer.customer_number, Customer.customer_id)
            .limit(MOST_CANDIDATES)
        )
    ).all()
    await open_personal_details(session, found)
    numbers = {("phone", phone_key(query)), ("document", document_key(query))}

    def is_meant(customer: Customer) -> bool:
        person = customer.personal
        return (
            person.is_called(asked)
            or customer.customer_number.startswith(query)
            or not numbers.isdisjoint({("phone", person.phone_key or ""), ("document", person.document_key or "")})
        )

    def by_name(customer: Customer) -> tuple[bool, str, UUID]:
        name = customer.personal.name_key
        return not name.startswith(asked), name, customer.customer_id

    return sorted(filter(is_meant, found), key=by_name)[:MOST_FOUND]


def _begins(column: InstrumentedAttribute[Any], prefix: str) -> ColumnElement[bool]:
    """A range, not LIKE: that is not leakproof, and under row-level security its index would not be used."""
    return and_(column >= prefix, column < end_of_prefix(prefix))


async def assign_customer(
    session: AsyncSession, actor: Principal, customer_id: UUID, assignment: AssignmentUpdate, seen: WritableTag
) -> Customer:
    """Gives the customer to a manager and a deputy. From then on the core's managers no longer count.

    A branch head gives customers to managers of their own branch and those below it.

    Raises CustomerNotFound, StaleVersion, UnknownManager.
    """
    customer = await session.scalar(
        select(Customer).where(Customer.customer_id == customer_id).with_for_update(key_share=True)
    )
    if customer is None:
        raise CustomerNotFound
    seen.check(customer.version)
    for manager_id in filter(None, (assignment.manager_id, assignment.deputy_manager_id)):
        path = await session.scalar(
            select(Branch.branch_path)
            .join(Manager, Manager.branch_id == Branch.branch_id)
            .where(Manager.manager_id == manager_id, Manager.is_active)
        )
        if path is None or (actor.role is Role.BRANCH_HEAD and actor.branch_id not in path):
            raise UnknownManager
    customer.manager_id = assignment.manager_id
    customer.deputy_manager_id = assignment.deputy_manager_id
    customer.is_assigned_here = True
    customer.version += 1
    customer.updated_at = func.now()
    await session.flush()
    await announce_customers(session, [customer_id])
    await open_personal_details(session, [customer])
    return customer
