"""Where alerts went."""

from services.notification.errors import AlertNotFound
from services.notification.models import AlertState, Channel, Delivery, DeliveryState
from services.notification.schemas import AlertDeliveries, DeliveryRead
from services.notification.use_cases.deliveries import deliveries_of_alert
from shared.auth.dependencies import members_of_staff
from shared.web.auditing import Subjects
from shared.web.parameters import AlertId
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

router = service_router(tag="alerts", dependencies=[members_of_staff])


@router.get("/alerts/{alert_id}/deliveries", responses=problems(AlertNotFound))
async def list_deliveries(alert_id: AlertId, session: Session, subjects: Subjects) -> AlertDeliveries:
    """To whom an alert went, by which channel, and what became of it there."""
    alert, deliveries = await deliveries_of_alert(session, alert_id)
    subjects.add(alert.customer_id)
    return AlertDeliveries(
        alert_id=alert_id, state=AlertState(alert.state), items=[_read(delivery) for delivery in deliveries]
    )


def _read(delivery: Delivery) -> DeliveryRead:
    return DeliveryRead(
        delivery_id=delivery.delivery_id,
        staff_id=delivery.staff_id,
        channel=Channel(delivery.channel),
        state=DeliveryState(delivery.state),
        attempts=delivery.attempts,
        code=delivery.code,
        created_at=delivery.created_at,
        delivered_at=delivery.delivered_at,
        next_attempt_at=delivery.due_at if delivery.state == DeliveryState.PENDING else None,
    )
