"""Closing a business day: the accounts that moved are reconciled, and scoring is told that the day is complete."""

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.receiving import Arrived
from shared.events.corebanking import BusinessDayClosed
from shared.events.customer import DayClosed, DayReported
from shared.messaging.outbox import publish

_CLOSE = text(
    "insert into business_day (source, business_date) values (:source, :day) on conflict do nothing returning 1"
)
# What was booked up to the stated balance must add up to it. Looked at again whenever the account has changed.
_RECONCILE = text(
    "with changed as materialized ("
    "  select account_id from account"
    "  where source = :source and stated_on <= :day and reconciled_version is distinct from version"
    "  order by account_id for no key update),"
    " due as ("
    "  update account a set reconciled_version = version from changed c where a.account_id = c.account_id"
    "  returning a.account_id, stated_on, stated_minor, posted_minor - posted_since_minor as posted_minor),"
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
    session: AsyncSession, arrived: Arrived, *, partitions: int, tolerance_minor: int
) -> None:
    """Closes each day once. Every partition of both our topics is told, behind what the day brought.

    An account whose sum of amounts is further than `tolerance_minor` from the balance that the core
    stated is a finding, until they agree again.
    """
    last: date | None = None
    for received, event in sorted(arrived.of(BusinessDayClosed), key=lambda each: each[1].business_date):
        closed = await session.scalar(_CLOSE, {"source": arrived.source, "day": event.business_date})
        if closed is None:
            received.is_a_duplicate()
            continue
        last = event.business_date
        for partition in range(partitions):
            publish(session, DayClosed(business_date=last), partition=partition)
            publish(session, DayReported(business_date=last), partition=partition)
    if last is not None:
        await session.execute(_RECONCILE, {"source": arrived.source, "day": last, "tolerance": tolerance_minor})
