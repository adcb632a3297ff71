"""Closing a business day: the accounts that moved are reconciled, and scoring is told that the day is complete."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.receiving import Received, of_type
from shared.events.corebanking import BusinessDayClosed
from shared.events.customer import DayClosed
from shared.messaging.outbox import publish

_CLOSE = text(
    "insert into business_day (source, business_date) values (:source, :day) on conflict do nothing returning 1"
)
# What was booked up to the stated balance must add up to it. Looked at again whenever the account has changed.
_RECONCILE = text(
    "with due as ("
    "  update account set reconciled_version = version"
    "  where source = :source and stated_on <= :day and reconciled_version is distinct from version"
    "  returning account_id, stated_on, stated_minor, posted_minor - posted_since_minor as posted_minor),"
    " gone as ("
    "  delete from reconciliation_finding f using due"
    "  where f.account_id = due.account_id and abs(due.stated_minor - due.posted_minor) <= :tolerance)"
    " insert into reconciliation_finding (account_id, as_of, stated_minor, posted_minor)"
    " select account_id, stated_on, stated_minor, posted_minor from due"
    " where abs(stated_minor - posted_minor) > :tolerance"
    " on conflict (account_id) do update set as_of = excluded.as_of, stated_minor = excluded.stated_minor,"
    " posted_minor = excluded.posted_minor, found_at = now()"
)


async def close_business_days(
    session: AsyncSession, received: Sequence[Received], *, partitions: int, tolerance_minor: int
) -> None:
    """Closes each day once. Every partition of `customer.transactions` is told, behind the day's transactions.

    An account whose sum of amounts is further than `tolerance_minor` from the balance that the core
    stated is a finding, until they agree again.
    """
    arrived = of_type(received, BusinessDayClosed)
    days: list[tuple[str, date]] = []
    for event_received, event in sorted(arrived, key=lambda item: item[1].business_date):
        closed = await session.scalar(_CLOSE, {"source": event_received.source, "day": event.business_date})
        if closed is None:
            event_received.is_a_duplicate()
            continue
        days.append((event_received.source, event.business_date))
        for partition in range(partitions):
            publish(session, DayClosed(business_date=event.business_date), partition=partition)
    for source, day in dict(days).items():
        await session.execute(_RECONCILE, {"source": source, "day": day, "tolerance": tolerance_minor})
