"""Customers: found, read, given to a manager."""

from typing import Annotated

from fastapi import Depends, Query

from services.customer.errors import CustomerNotFound, UnknownManager
from services.customer.models import Customer
from services.customer.schemas import AssignmentUpdate, CustomerLookup, CustomerRead, Customers, CustomerSearch
from services.customer.use_cases import portfolio
from services.customer.use_cases.personal_details import open_personal_details
from shared.auth.dependencies import Actor, members_of_staff, require_role
from shared.auth.principal import Role
from shared.web.auditing import READS
from shared.web.etag import PreconditionRequired, ReadTag, SeenTag, StaleVersion
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.parameters import CustomerId, OfBranch, OfManager
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

router = service_router(tag="customers", dependencies=[members_of_staff])

orderings = Ordering(
    {"customer_number": Customer.customer_number, "customer_since": Customer.customer_since},
    default="customer_number",
    tie=Customer.customer_id,
)
Paging = Annotated[PageRequest, Depends(orderings)]


@router.get("/customers")
async def list_customers(
    session: Session,
    page: Paging,
    branch_id: OfBranch = None,
    manager_id: OfManager = None,
    is_assigned: Annotated[bool | None, Query(description="Whether a manager looks after them.")] = None,
    has_left: Annotated[bool | None, Query(description="Whether they have left the bank.")] = None,
) -> Page[CustomerRead]:
    """The customers that you may see: your portfolio, your branch, or all."""
    query = portfolio.customers(branch_id=branch_id, manager_id=manager_id, is_assigned=is_assigned, has_left=has_left)
    return await page.of(session, query, CustomerRead.model_validate, complete=open_personal_details)


@router.get("/customers/{customer_id}", responses=problems(CustomerNotFound))
async def read_customer(customer_id: CustomerId, session: Session, tag: ReadTag) -> CustomerRead:
    """One customer."""
    customer = await portfolio.get_customer(session, customer_id)
    tag.show(customer.version)
    return CustomerRead.model_validate(customer)


@router.post("/customers/lookup", openapi_extra={READS: True})
async def look_up_customers(body: CustomerLookup, session: Session) -> Customers:
    """Up to 200 customers by their ids, in the order asked for; those you may not see are left out."""
    found = await portfolio.look_up_customers(session, body.customer_ids)
    return Customers(items=[CustomerRead.model_validate(customer) for customer in found])


@router.post("/customers/search", openapi_extra={READS: True})
async def search_customers(body: CustomerSearch, session: Session) -> Customers:
    """Up to 50 customers by a part of their name, the beginning of their number, their phone or their document."""
    found = await portfolio.search_customers(session, body.query)
    return Customers(items=[CustomerRead.model_validate(customer) for customer in found])


@router.put(
    "/customers/{customer_id}/assignment",
    dependencies=[require_role(Role.BRANCH_HEAD, Role.HEAD_OFFICE)],
    responses=problems(CustomerNotFound, UnknownManager, StaleVersion, PreconditionRequired),
)
async def assign_customer(
    customer_id: CustomerId, body: AssignmentUpdate, session: Session, actor: Actor, seen: SeenTag
) -> CustomerRead:
    """Gives a customer to a manager and a deputy. Afterwards the core's own assignment no longer counts.

    A branch head chooses among the managers of their own branch and those below it.
    """
    customer = await portfolio.assign_customer(session, actor, customer_id, body, seen)
    seen.show(customer.version)
    return CustomerRead.model_validate(customer)
