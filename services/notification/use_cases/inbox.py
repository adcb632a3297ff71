"""A member of staff's inbox: read, acknowledged, put off until later."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Select, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.errors import InboxItemClosed, InboxItemNotFound
from services.notification.models import Alert, Inbox, InboxItem, ItemState
from services.notification.use_cases.changes import number_changes
from shared.audit.unattended import reach
from shared.events.notification import AlertAcknowledged, AlertSnoozed
from shared.messaging.outbox import publish
from shared.scope import customer_scope
from shared.web.refusals import InvalidInput

LONGEST_SNOOZE = timedelta(days=30)
RETURNED_AT_ONCE = 500

_DUE = text(
    "select item_id, staff_id, customer_id from inbox_item where state = 'snoozed' and snoozed_until <= :now"
    " order by staff_id, item_id limit :limit"
)
_RETURN = text(
    "update inbox_item i set state = 'open', snoozed_until = null, sequence = n.sequence"
    " from unnest(cast(:item_ids as uuid[]), cast(:sequences as bigint[])) as n (item_id, sequence)"
    " where i.item_id = n.item_id and i.state = 'snoozed' and i.snoozed_until <= :now"
)


class Shown(NamedTuple):
    """An item with what it is about."""

    item: InboxItem
    alert: Alert
    customer_number: str


def shown_items(staff_id: str, states: Sequence[ItemState] = ()) -> Select[InboxItem, Alert, str]:
    """The query for the items of an inbox, in any of `states`."""
    query = (
        select(InboxItem, Alert, customer_scope.c.customer_number)
        .join(Alert, Alert.alert_id == InboxItem.alert_id)
        .join(customer_scope, customer_scope.c.customer_id == InboxItem.customer_id)
        .where(InboxItem.staff_id == staff_id)
    )
    return query.where(InboxItem.state.in_(states)) if states else query


async def count_inbox(session: AsyncSession, staff_id: str) -> dict[ItemState, int]:
    """How many items are in each state, the closed ones left out."""
    found = await session.execute(
        select(InboxItem.state, func.count())
        .where(InboxItem.staff_id == staff_id, InboxItem.state != ItemState.CLOSED)
        .group_by(InboxItem.state)
    )
    return {ItemState(state): count for state, count in found}


async def get_item(session: AsyncSession, staff_id: str, item_id: UUID) -> Shown:
    """Raises InboxItemNotFound."""
    found = (await session.execute(shown_items(staff_id).where(InboxItem.item_id == item_id))).one_or_none()
    if found is None:
        raise InboxItemNotFound
    return Shown(*found)


async def last_change(session: AsyncSession, staff_id: str) -> int:
    """The number of the latest change in the inbox; 0 before the first."""
    return await session.scalar(select(Inbox.last_sequence).where(Inbox.staff_id == staff_id)) or 0


async def changes_after(session: AsyncSession, staff_id: str, sequence: int, *, limit: int) -> list[Shown]:
    """The items that changed since, as they are now, in the order of their latest changes."""
    rows = await session.execute(
        shown_items(staff_id).where(InboxItem.sequence > sequence).order_by(InboxItem.sequence).limit(limit)
    )
    return [Shown(*row) for row in rows]


async def acknowledge_item(session: AsyncSession, staff_id: str, item_id: UUID, now: datetime) -> Shown:
    """Once acknowledged, doing it again changes nothing. Raises InboxItemNotFound, InboxItemClosed."""
    shown, sequence = await _lock_item(session, staff_id, item_id)
    item = shown.item
    if item.state == ItemState.ACKNOWLEDGED:
        return shown
    item.state, item.sequence = ItemState.ACKNOWLEDGED, sequence
    item.acknowledged_at, item.snoozed_until = now, None
    await session.flush()
    publish(
        session,
        AlertAcknowledged(
            customer_id=item.customer_id, alert_id=item.alert_id, manager_id=staff_id, acknowledged_at=now
        ),
        occurred_at=now,
    )
    return shown


async def snooze_item(session: AsyncSession, staff_id: str, item_id: UUID, until: datetime, now: datetime) -> Shown:
    """Puts the item off; it comes back by itself. Doing it again changes nothing.

    Raises InboxItemNotFound, InboxItemClosed, InvalidInput.
    """
    if not now < until <= now + LONGEST_SNOOZE:
        raise InvalidInput.at("/until", "not_within_30_days", "Is in the future and at most 30 days away")
    until = until.astimezone(UTC)
    shown, sequence = await _lock_item(session, staff_id, item_id)
    item = shown.item
    if item.state == ItemState.SNOOZED and item.snoozed_until == until:
        return shown
    item.state, item.sequence, item.snoozed_until = ItemState.SNOOZED, sequence, until
    await session.flush()
    publish(
        session,
        AlertSnoozed(customer_id=item.customer_id, alert_id=item.alert_id, manager_id=staff_id, snoozed_until=until),
        occurred_at=now,
    )
    return shown


async def _lock_item(session: AsyncSession, staff_id: str, item_id: UUID) -> tuple[Shown, int]:
    """The item, that nobody else changes until the transaction ends, and the number that its change will have."""
    await get_item(session, staff_id, item_id)
    (sequence,) = await number_changes(session, [staff_id])
    found = await session.execute(
        shown_items(staff_id).where(InboxItem.item_id == item_id).execution_options(populate_existing=True)
    )
    shown = found.one_or_none()
    if shown is None:
        raise InboxItemNotFound
    if shown[0].state == ItemState.CLOSED:
        raise InboxItemClosed
    return Shown(*shown), sequence


async def return_snoozed_items(session: AsyncSession, now: datetime) -> int:
    """Opens the items whose time has come; returns how many it looked at, at most `RETURNED_AT_ONCE`."""
    due = list(await session.execute(_DUE, {"now": now, "limit": RETURNED_AT_ONCE}))
    if due:
        sequences = await number_changes(session, [staff_id for _, staff_id, _ in due])
        await session.execute(
            _RETURN, {"item_ids": [item_id for item_id, *_ in due], "sequences": sequences, "now": now}
        )
        reach(session, [customer_id for *_, customer_id in due])
    return len(due)
