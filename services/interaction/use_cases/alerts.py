"""Churn alerts as other services tell of them, so that an outcome can be checked against its alert."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.domain.timeline import Entry, EntryKind, after, within
from services.interaction.errors import AlertNotFound
from services.interaction.models import Alert
from services.interaction.use_cases.rows import insert_rows
from services.interaction.use_cases.timeline import add_entries, keep_entries, take_back_entries
from shared.events import Delivery
from shared.events.scoring import ChurnAlertClosed, ChurnAlertRaised

AlertTold = ChurnAlertRaised | ChurnAlertClosed


async def follow_alerts(session: AsyncSession, deliveries: Sequence[Delivery[AlertTold]]) -> None:
    """Keeps each alert as it was told last: one that is raised again after it closed is open again."""
    last: dict[UUID, AlertTold] = {}
    raised_on: dict[UUID, date] = {}
    entries: list[Entry] = []
    for delivery in deliveries:
        event = delivery.event
        last[event.alert_id] = event
        if isinstance(event, ChurnAlertRaised):
            raised_on[event.alert_id] = event.raised_on
            entries.append(_raised(event, within(event.raised_on, delivery.occurred_at)))
    if not last:
        return
    closed = {alert_id: event for alert_id, event in last.items() if isinstance(event, ChurnAlertClosed)}
    rows = [_row(event, raised_on.get(alert_id), closed.get(alert_id)) for alert_id, event in last.items()]
    upsert = insert_rows(Alert, rows, key="alert_id")
    await session.execute(
        upsert.on_conflict_do_update(
            index_elements=["alert_id"],
            set_={
                "raised_on": func.coalesce(upsert.excluded.raised_on, Alert.raised_on),
                "closed_at": upsert.excluded.closed_at,
                "closure": upsert.excluded.closure,
            },
        )
    )
    await keep_entries(session, [*entries, *(_closed(event) for event in closed.values())])
    await take_back_entries(session, EntryKind.ALERT_CLOSED, last.keys() - closed.keys())


def _row(event: AlertTold, raised_on: date | None, closed: ChurnAlertClosed | None) -> dict[str, Any]:
    return {
        "alert_id": event.alert_id,
        "customer_id": event.customer_id,
        "raised_on": raised_on,
        "closed_at": closed.closed_at if closed else None,
        "closure": closed.ended_by.value if closed else None,
    }


def _raised(event: ChurnAlertRaised, occurred_at: datetime) -> Entry:
    by_weight = sorted(event.reasons, key=lambda reason: -reason.points)
    facts = {
        "points": event.points,
        "reasons": [reason.text for reason in by_weight],
        "is_historic": event.is_historic,
    }
    return Entry(event.customer_id, EntryKind.ALERT_RAISED, event.alert_id, occurred_at, facts, alert_id=event.alert_id)


def _closed(event: ChurnAlertClosed) -> Entry:
    facts = {"closure": event.ended_by.value}
    occurred_at = after(event.closed_at)
    return Entry(event.customer_id, EntryKind.ALERT_CLOSED, event.alert_id, occurred_at, facts, alert_id=event.alert_id)


async def keep_told_alerts(session: AsyncSession, told: Sequence[Entry]) -> None:
    """What became of an alert at its manager's. Whoever was told of an alert may record its outcome at once,
    even where scoring's own word of it has not arrived here yet."""
    rows = {entry.alert_id: {"alert_id": entry.alert_id, "customer_id": entry.customer_id} for entry in told}
    if rows:
        known = insert_rows(Alert, list(rows.values()), key="alert_id")
        await session.execute(known.on_conflict_do_nothing(index_elements=["alert_id"]))
        await add_entries(session, told)


async def check_alert(session: AsyncSession, customer_id: UUID, alert_id: UUID) -> None:
    """Raises AlertNotFound unless it is an alert of this customer."""
    found = await session.scalar(
        select(Alert.alert_id).where(Alert.alert_id == alert_id, Alert.customer_id == customer_id)
    )
    if found is None:
        raise AlertNotFound
