"""Where an alert went."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.errors import AlertNotFound
from services.notification.models import Alert, Delivery


async def deliveries_of_alert(session: AsyncSession, alert_id: UUID) -> tuple[Alert, Sequence[Delivery]]:
    """The alert and its deliveries, the first ones first. Raises AlertNotFound."""
    alert = await session.get(Alert, alert_id)
    if alert is None:
        raise AlertNotFound
    found = await session.scalars(
        select(Delivery)
        .where(Delivery.alert_id == alert_id)
        .order_by(Delivery.created_at, Delivery.staff_id, Delivery.channel)
    )
    return alert, found.all()
