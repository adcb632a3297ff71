"""Churn alerts as other services tell of them, so that an outcome can be checked against its alert."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.domain.timeline import Entry, Kind, within
from services.interaction.errors import AlertNotFound
from services.interaction.models import Alert
from services.interaction.use_cases.rows import insert_rows
from services.interaction.use_cases.timeline import add_entries, keep_entries
from shared.events import Delivery
from shared.events.scoring import ChurnAlertClosed, ChurnAlertRaised


async def keep_raised_alerts(session: AsyncSession, deliveries: Sequence[Delivery[ChurnAlertRaised]]) -> None:
    rows = [
        {"alert_id": d.event.alert_id, "customer_id": d.event.customer_id, "raised_on": d.event.raised_on}
        for d in deliveries
    ]
    await _keep_alerts(session, rows)
    await keep_entries(session, [_raised(delivery) for delivery in deliveries])


async def keep_closed_alerts(session: AsyncSession, deliveries: Sequence[Delivery[ChurnAlertClosed]]) -> None:
    rows = [
        {
            "alert_id": d.event.alert_id,
            "customer_id": d.event.customer_id,
            "closed_at": d.event.closed_at,
            "closure": d.event.closure.value,
        }
        for d in deliveries
    ]
    await _keep_alerts(session, rows)
    await keep_entries(session, [_closed(delivery) for delivery in deliveries])


async def keep_told_alerts(session: AsyncSession, told: Sequence[Entry]) -> None:
    """What became of an alert at its manager's. Whoever was told of an alert may record its outcome at once,
    even where scoring's own word of it has not arrived here yet."""
    rows = [{"alert_id": entry.alert_id, "customer_id": entry.customer_id} for entry in told]
    await _keep_alerts(session, rows)
    await add_entries(session, told)


async def _keep_alerts(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Sets what the rows know of each alert and leaves the rest."""
    latest = list({row["alert_id"]: row for row in rows}.values())
    if not latest:
        return
    upsert = insert_rows(Alert, latest, key="alert_id")
    known = {name: upsert.excluded[name] for name in latest[0] if name not in ("alert_id", "customer_id")}
    if known:
        await session.execute(upsert.on_conflict_do_update(index_elements=["alert_id"], set_=known))
    else:
        await session.execute(upsert.on_conflict_do_nothing(index_elements=["alert_id"]))


def _raised(delivery: Delivery[ChurnAlertRaised]) -> Entry:
    event = delivery.event
    by_weight = sorted(event.reasons, key=lambda reason: -reason.points)
    facts = {
        "points": event.points,
        "reasons": [reason.text for reason in by_weight],
        "is_historic": event.is_historic,
    }
    occurred_at = within(event.raised_on, delivery.occurred_at)
    return Entry(event.customer_id, Kind.ALERT_RAISED, event.alert_id, occurred_at, facts, alert_id=event.alert_id)


def _closed(delivery: Delivery[ChurnAlertClosed]) -> Entry:
    event = delivery.event
    facts = {"closure": event.closure.value}
    return Entry(event.customer_id, Kind.ALERT_CLOSED, event.alert_id, event.closed_at, facts, alert_id=event.alert_id)


async def check_alert(session: AsyncSession, customer_id: UUID, alert_id: UUID) -> None:
    """Raises AlertNotFound unless it is an alert of this customer."""
    found = await session.scalar(
        select(Alert.alert_id).where(Alert.alert_id == alert_id, Alert.customer_id == customer_id)
    )
    if found is None:
        raise AlertNotFound
