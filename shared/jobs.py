"""Jobs that every service has."""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import text

from shared.audit.unattended import reach
from shared.clock import Clock
from shared.database import Database
from shared.messaging.editing import forget_edits
from shared.sealing.kept import EXPIRED
from shared.web.idempotency import purge_idempotency_keys

log = structlog.get_logger(__name__)

REMEMBER_DELIVERIES = timedelta(days=14)
"""A relay repeats what it sent within minutes; what the topics still hold may be read again for days."""

_FORGET_DELIVERIES = text(
    "delete from delivered_event where event_id in"
    " (select event_id from delivered_event where delivered_at < :before limit 50000) returning 1"
)


UNATTRIBUTED_DAYS = 30
"""As the setting is by default."""


async def forget_unattributed(database: Database, clock: Clock, days: int = UNATTRIBUTED_DAYS) -> None:
    """Forgets dead letters, and what they were before an edit, that name no known customer."""
    before = clock() - timedelta(days=days)
    await forget_of_nobody(database, "dead_letter", "parked_at", before)
    await forget_of_nobody(database, "dead_letter_edit", "edited_at", before)


async def forget_of_nobody(database: Database, table: str, since: str, before: datetime) -> None:
    """Deletes what no customer's key seals, in pieces that commit quickly, and counts it."""
    old = f"select ctid from {table} where customer_id is null and {since} < :before limit 10000"  # noqa: S608 - names of ours
    forget = text(f"delete from {table} where ctid = any (array ({old})) returning 1")  # noqa: S608 - names of ours
    while True:
        async with database.transaction() as session:
            gone = len((await session.scalars(forget, {"before": before})).all())
            reach(session, [None] * gone, resource=table)
        if not gone:
            return
        EXPIRED.labels(table).inc(gone)
        log.warning("unattributed_expired", table=table, count=gone)


async def forget_what_is_past(database: Database, clock: Clock) -> None:
    """Forgets stored answers after a day, deliveries after two weeks, edits of letters that are gone after 90 days.

    In pieces that commit quickly.
    """
    now = clock()
    async with database.transaction() as session:
        await purge_idempotency_keys(session, now)
    async with database.transaction() as session:
        await forget_edits(session, now)
    forgotten = 1
    while forgotten:
        async with database.transaction() as session:
            gone = await session.scalars(_FORGET_DELIVERIES, {"before": now - REMEMBER_DELIVERIES})
            forgotten = len(gone.all())
