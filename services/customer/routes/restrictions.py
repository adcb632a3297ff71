"""Customers whose record is kept and not used."""

from fastapi import Request

from services.customer.errors import CustomerNotFound
from services.customer.models import Customer
from services.customer.schemas import RestrictionRead, RestrictionReason, RestrictionUpdate
from services.customer.use_cases import restrictions
from services.customer.use_cases.portfolio import get_customer
from shared.auth.dependencies import require_role
from shared.auth.principal import Role
from shared.web.etag import PreconditionRequired, ReadTag, SeenTag, StaleVersion
from shared.web.parameters import CustomerId
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

router = service_router(tag="subject rights", dependencies=[require_role(Role.HEAD_OFFICE)])


@router.get("/customers/{customer_id}/restriction", responses=problems(CustomerNotFound))
async def read_restriction(customer_id: CustomerId, session: Session, tag: ReadTag) -> RestrictionRead:
    """Whether a customer is restricted, since when and why."""
    customer = await get_customer(session, customer_id)
    tag.show(customer.version)
    return _shown(customer)


@router.put(
    "/customers/{customer_id}/restriction",
    responses=problems(CustomerNotFound, StaleVersion, PreconditionRequired),
)
async def restrict_customer(
    customer_id: CustomerId, body: RestrictionUpdate, request: Request, session: Session, seen: SeenTag
) -> RestrictionRead:
    """Keeps the record and stops its use: only head office sees it, it is not scored, and nobody is told of it.

    In the other services it holds as soon as they have heard of it.
    """
    now = request.app.state.clock()
    customer = await restrictions.restrict_customer(session, customer_id, body.reason, seen, now)
    seen.show(customer.version)
    return _shown(customer)


@router.delete(
    "/customers/{customer_id}/restriction",
    responses=problems(CustomerNotFound, StaleVersion, PreconditionRequired),
)
async def lift_restriction(customer_id: CustomerId, session: Session, seen: SeenTag) -> RestrictionRead:
    """Brings all back: seen by whoever looks after the customer, scored from today on, alerts told of."""
    customer = await restrictions.lift_restriction(session, customer_id, seen)
    seen.show(customer.version)
    return _shown(customer)


def _shown(customer: Customer) -> RestrictionRead:
    return RestrictionRead(
        customer_id=customer.customer_id,
        restricted=customer.restricted_at is not None,
        restricted_at=customer.restricted_at,
        reason=RestrictionReason(customer.restriction_reason) if customer.restriction_reason else None,
    )
