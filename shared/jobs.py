"""Jobs that every service has."""

from datetime import timedelta

from sqlalchemy import text

from shared.clock import Clock
from shared.database import Database
from shared.messaging.editing import forget_edits
from shared.web.idempotency import purge_idempotency_keys

REMEMBER_DELIVERIES = timedelta(days=14)
"""A relay repeats what it sent within minutes; what the topics still hold may be read again for days."""

_FORGET_DELIVERIES = text(
    "delete from delivered_event where event_id in"
    " (select event_id from delivered_event where delivered_at < :before limit 50000) returning 1"
)


async def forget_what_is_past(database: Database, clock: Clock) -> None:
    """Forgets stored answers after a day, deliveries after two weeks, edits of letters that are gone after 90 days.

    In pieces that commit quickly.
    """
    now = clock()
    async with database.transaction() as session:
        await purge_idempotency_keys(session, now)
        await forget_edits(session, now)
    forgotten = 1
    while forgotten:
        async with database.transaction() as session:
            gone = await session.scalars(_FORGET_DELIVERIES, {"before": now - REMEMBER_DELIVERIES})
            forgotten = len(gone.all())
