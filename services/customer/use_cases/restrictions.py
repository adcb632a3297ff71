"""Restriction: what is kept about a customer is kept for the law. Head office sees it; nobody uses it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import CustomerNotFound
from services.customer.models import Customer
from services.customer.use_cases.parties import announce_customers
from shared.web.etag import WritableTag


async def restrict_customer(
    session: AsyncSession, customer_id: UUID, reason: str, seen: WritableTag, now: datetime
) -> Customer:
    """A restriction that there is stays since when it was. Raises CustomerNotFound, StaleVersion."""
    customer = await _locked(session, customer_id, seen)
    if customer.restricted_at is None or customer.restriction_reason != reason:
        customer.restricted_at = customer.restricted_at or now
        customer.restriction_reason = reason
        await _tell(session, customer)
    return customer


async def lift_restriction(session: AsyncSession, customer_id: UUID, seen: WritableTag) -> Customer:
    """Raises CustomerNotFound, StaleVersion."""
    customer = await _locked(session, customer_id, seen)
    if customer.restricted_at is not None:
        customer.restricted_at = customer.restriction_reason = None
        await _tell(session, customer)
    return customer


async def _locked(session: AsyncSession, customer_id: UUID, seen: WritableTag) -> Customer:
    customer = await session.scalar(
        select(Customer).where(Customer.customer_id == customer_id).with_for_update(key_share=True)
    )
    if customer is None:
        raise CustomerNotFound
    seen.check(customer.version)
    return customer


async def _tell(session: AsyncSession, customer: Customer) -> None:
    customer.version += 1
    customer.updated_at = func.now()
    await session.flush()
    await announce_customers(session, [customer.customer_id])
