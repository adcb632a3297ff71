"""A customer who is restricted is not scored and has no open alert; who is no longer, is scored again."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.scoring.domain.alerts import RESTRICTION
from services.scoring.models import ChurnAlert
from services.scoring.use_cases.alerts import publish_closed
from services.scoring.use_cases.arrays import is_among
from services.scoring.use_cases.due import mark_due
from services.scoring.use_cases.rules import Rules
from shared.events import Delivery
from shared.events.scoring import AlertEnding
from shared.scope import customer_scope


class Changed(NamedTuple):
    restricted: frozenset[UUID]
    lifted: frozenset[UUID]


async def restricted_among(session: AsyncSession, customer_ids: Sequence[UUID]) -> frozenset[UUID]:
    scope = customer_scope.c
    wanted = select(scope.customer_id).where(scope.restricted, is_among(scope.customer_id, customer_ids))
    return frozenset(await session.scalars(wanted))


async def follow_restrictions(session: AsyncSession, changed: Changed, rules: Rules, cause: Delivery[Any]) -> None:
    """Closes the open alerts of who is restricted now; has who no longer is scored from today on.

    The days between open no alert: what closed for the restriction stays closed until its end.
    """
    now = rules.clock()
    today = rules.day_of(now)
    alerts = ChurnAlert.customer_id, ChurnAlert.raised_on
    stays_open = select(ChurnAlert).where(
        is_among(ChurnAlert.customer_id, sorted(changed.restricted)), ChurnAlert.closed_on.is_(None)
    )
    for row in (await session.scalars(stays_open.order_by(*alerts))).all() if changed.restricted else ():
        row.closed_on, row.closed_at, row.closure = max(today, row.raised_on), now, RESTRICTION
        row.version += 1
        publish_closed(session, row, AlertEnding.RESTRICTION, now, cause, now=now)
    stays_closed = select(ChurnAlert).where(
        is_among(ChurnAlert.customer_id, sorted(changed.lifted)), ChurnAlert.closure == RESTRICTION
    )
    latest = {}
    for row in (await session.scalars(stays_closed.order_by(*alerts))).all() if changed.lifted else ():
        latest[row.customer_id] = row
    for row in latest.values():
        row.closed_on = max(today, row.raised_on)
        row.version += 1
    await session.flush()
    await mark_due(session, cause.partition, dict.fromkeys(changed.lifted, today))
