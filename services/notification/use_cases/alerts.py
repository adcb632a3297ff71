"""An alert is told to whoever is responsible for its customer, and withdrawn when it closes.

The three things that decide who is told (the alert, the customer's managers, the managers' state) come on
different topics and in any order; whichever comes, `tell_those_responsible` looks at all of it. Locks are
taken in one order: alerts, inboxes, items.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.models import Alert, AlertState, Channel, DeliveryState, InboxItem, ItemState
from services.notification.models import Delivery as DeliveryRow
from services.notification.use_cases.changes import number_changes
from services.notification.use_cases.webhooks import staff_with_webhook
from shared.events import Delivery
from shared.events.notification import AlertDelivered
from shared.events.notification import Channel as PublishedChannel
from shared.events.scoring import ChurnAlertClosed, ChurnAlertRaised
from shared.ids import derived_id
from shared.messaging.outbox import publish
from shared.scope import customer_scope

Causes = Mapping[UUID, Delivery[Any]]
"""By customer: the event that made it necessary to look."""

# Whoever the manager has delegated the customer to; else the manager; the deputy where the manager is inactive or
# unknown; else the head of the nearest branch above.
_UNTOLD = text(
    "select a.alert_id, a.customer_id, who.staff_id"
    " from alert a"
    " join customer_scope s on s.customer_id = a.customer_id"
    " cross join lateral ("
    "  select r.staff_id from recipient r"
    "  left join delegation d on d.delegate_id = r.staff_id and d.manager_id = s.manager_id"
    "   and d.starts_at <= :now and :now < d.ends_at"
    "   and (d.customer_ids is null or s.customer_id = any (d.customer_ids))"
    "  where r.is_active and ("
    "   d.delegation_id is not null"
    "   or r.staff_id in (s.manager_id, s.deputy_manager_id)"
    "   or (r.is_branch_head and r.branch_id = any (s.branch_path)))"
    "  order by d.delegation_id is not null desc,"
    "   r.staff_id = s.manager_id desc nulls last,"
    "   r.staff_id = s.deputy_manager_id desc nulls last,"
    "   array_position(s.branch_path, r.branch_id) desc nulls last,"
    "   r.staff_id"
    "  limit 1) who"
    " where a.state in ('unresolved', 'delivered') and not s.restricted"
    "  and (cast(:customer_ids as uuid[]) is null or a.customer_id = any (cast(:customer_ids as uuid[])))"
    "  and not exists (select 1 from inbox_item i where i.alert_id = a.alert_id and i.staff_id = who.staff_id)"
    " order by a.alert_id"
    " for update of a"
)

_CLOSE_ITEMS = text(
    "update inbox_item i set state = 'closed', snoozed_until = null, sequence = n.sequence"
    " from unnest(cast(:item_ids as uuid[]), cast(:sequences as bigint[])) as n (item_id, sequence)"
    " where i.item_id = n.item_id and i.state <> 'closed'"
)


@dataclass(frozen=True)
class _Untold:
    alert_id: UUID
    customer_id: UUID
    staff_id: str


async def record_alerts(session: AsyncSession, raised: Sequence[Delivery[ChurnAlertRaised]], now: datetime) -> None:
    """Keeps the alerts, each once, and tells those responsible for the customers. Nobody is told of historic ones."""
    rows = {
        delivery.event.alert_id: {
            "alert_id": delivery.event.alert_id,
            "customer_id": delivery.event.customer_id,
            "state": AlertState.HISTORIC if delivery.event.is_historic else AlertState.UNRESOLVED,
            "raised_on": delivery.event.raised_on,
            "points": delivery.event.points,
            "reasons": msgspec.to_builtins(delivery.event.reasons),
        }
        for delivery in reversed(raised)
    }
    upsert = insert(Alert)
    told = {name: upsert.excluded[name] for name in ("raised_on", "points", "reasons")}
    # An alert whose end came first stays closed, and now shows what it was.
    await session.execute(
        upsert.on_conflict_do_update(index_elements=["alert_id"], set_=told, where=Alert.raised_on.is_(None)),
        [rows[alert_id] for alert_id in sorted(rows)],
    )
    causes: Causes = {delivery.event.customer_id: delivery for delivery in raised}
    await tell_those_responsible(session, now, customer_ids=sorted(causes), causes=causes)


async def tell_those_responsible(
    session: AsyncSession, now: datetime, *, customer_ids: Collection[UUID] | None = None, causes: Causes | None = None
) -> int:
    """Every open alert lies in the inbox of whoever is responsible now, and is sent to them. How many were told.

    So an alert waits for its customer's managers to become known, and follows its customer to another manager.
    """
    wanted = list(customer_ids) if customer_ids is not None else None
    found = await session.execute(_UNTOLD, {"customer_ids": wanted, "now": now})
    untold = [_Untold(*row) for row in found]
    if not untold:
        return 0
    sequences = await number_changes(session, [alert.staff_id for alert in untold])
    put = insert(InboxItem).on_conflict_do_nothing(index_elements=["alert_id", "staff_id"])
    placed = set(
        await session.scalars(
            put.returning(InboxItem.item_id),
            [
                {
                    "item_id": _item_id(alert),
                    "alert_id": alert.alert_id,
                    "customer_id": alert.customer_id,
                    "staff_id": alert.staff_id,
                    "state": ItemState.OPEN,
                    "sequence": sequence,
                    "created_at": now,
                }
                for alert, sequence in zip(untold, sequences, strict=True)
            ],
        )
    )
    told = [alert for alert in untold if _item_id(alert) in placed]
    await _cancel_deliveries_to_others(session, told)
    await _record_deliveries(session, told, now)
    await session.execute(
        update(Alert).where(Alert.alert_id.in_([alert.alert_id for alert in told])).values(state=AlertState.DELIVERED)
    )
    for alert in told:
        publish(
            session,
            AlertDelivered(
                customer_id=alert.customer_id,
                alert_id=alert.alert_id,
                manager_id=alert.staff_id,
                channel=PublishedChannel.INBOX,
                delivered_at=now,
            ),
            cause=(causes or {}).get(alert.customer_id),
            step=f"{AlertDelivered.TYPE}:{alert.alert_id}:{alert.staff_id}",
            occurred_at=now,
        )
    return len(told)


def _item_id(alert: _Untold) -> UUID:
    return derived_id(alert.alert_id, f"inbox_item:{alert.staff_id}")


async def _record_deliveries(session: AsyncSession, told: Sequence[_Untold], now: datetime) -> None:
    with_webhook = await staff_with_webhook(session, {alert.staff_id for alert in told})
    rows = [
        {
            "delivery_id": derived_id(alert.alert_id, f"delivery:{channel}:{alert.staff_id}"),
            "alert_id": alert.alert_id,
            "customer_id": alert.customer_id,
            "staff_id": alert.staff_id,
            "channel": channel,
            "state": DeliveryState.DELIVERED if channel is Channel.INBOX else DeliveryState.PENDING,
            "attempts": 1 if channel is Channel.INBOX else 0,
            "due_at": now,
            "created_at": now,
            "delivered_at": now if channel is Channel.INBOX else None,
        }
        for alert in told
        for channel in Channel
        if channel is not Channel.WEBHOOK or alert.staff_id in with_webhook
    ]
    put = insert(DeliveryRow).on_conflict_do_nothing(index_elements=["alert_id", "staff_id", "channel"])
    if rows:
        await session.execute(put, rows)


async def _cancel_deliveries_to_others(session: AsyncSession, told: Sequence[_Untold]) -> None:
    """Whoever no longer looks after the customer is not told by mail or webhook any more."""
    await session.execute(
        update(DeliveryRow)
        .where(
            DeliveryRow.alert_id.in_([alert.alert_id for alert in told]),
            DeliveryRow.state == DeliveryState.PENDING,
        )
        .values(state=DeliveryState.CANCELLED, code="reassigned")
    )


async def cancel_deliveries_about_restricted(session: AsyncSession, customer_ids: Collection[UUID]) -> None:
    """Of those of the customers who are restricted nobody is told by mail or webhook any more."""
    restricted = select(customer_scope.c.customer_id).where(
        customer_scope.c.restricted, customer_scope.c.customer_id.in_(customer_ids)
    )
    await session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.customer_id.in_(restricted), DeliveryRow.state == DeliveryState.PENDING)
        .values(state=DeliveryState.CANCELLED, code="restricted")
    )


async def count_unresolved(session: AsyncSession) -> int:
    return await session.scalar(select(func.count()).where(Alert.state == AlertState.UNRESOLVED)) or 0


async def close_alerts(session: AsyncSession, closed: Sequence[Delivery[ChurnAlertClosed]]) -> None:
    """Closes the alerts' items in every inbox and cancels what was not sent yet.

    An alert that is not known yet is kept as closed: when it comes, nobody is told.
    """
    rows = {
        delivery.event.alert_id: {
            "alert_id": delivery.event.alert_id,
            "customer_id": delivery.event.customer_id,
            "state": AlertState.CLOSED,
            "closed_at": delivery.event.closed_at,
            "closure": delivery.event.ended_by,
        }
        for delivery in reversed(closed)
    }
    alert_ids = sorted(rows)
    upsert = insert(Alert)
    ended = {name: upsert.excluded[name] for name in ("state", "closed_at", "closure")}
    await session.execute(
        upsert.on_conflict_do_update(index_elements=["alert_id"], set_=ended, where=Alert.state != AlertState.CLOSED),
        [rows[alert_id] for alert_id in alert_ids],
    )
    await session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.alert_id.in_(alert_ids), DeliveryRow.state == DeliveryState.PENDING)
        .values(state=DeliveryState.CANCELLED, code="alert_closed")
    )
    await _close_items(session, alert_ids)


async def _close_items(session: AsyncSession, alert_ids: Sequence[UUID]) -> None:
    unclosed = (InboxItem.alert_id.in_(alert_ids), InboxItem.state != ItemState.CLOSED)
    found = await session.execute(select(InboxItem.item_id, InboxItem.staff_id).where(*unclosed))
    items = sorted((staff_id, item_id) for item_id, staff_id in found)
    if not items:
        return
    sequences = await number_changes(session, [staff_id for staff_id, _ in items])
    await session.execute(_CLOSE_ITEMS, {"item_ids": [item_id for _, item_id in items], "sequences": list(sequences)})
