"""Events in. All but alerts are commutative: what is told has its own identity or revision, whenever it comes.

An alert has no revision: raised and closed follow each other, and the last one holds.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.interaction.domain.timeline import Entry, EntryKind, before, start_of, within
from services.interaction.use_cases import accounts, alerts, complaints, contacts, coverage, surveys, timeline
from shared.events import Delivery
from shared.events.customer import (
    AccountChanged,
    ComplaintReported,
    ContactReported,
    CustomerChanged,
    DayReported,
    LifeEventReported,
    SurveyReported,
)
from shared.events.interaction import ComplaintChanged, ContactLogged, DayClosed, SurveyAnswered
from shared.events.notification import AlertAcknowledged, AlertDelivered, AlertSentToWebhook, AlertSnoozed
from shared.events.scoring import ChurnAlertClosed, ChurnAlertRaised, RiskBandChanged
from shared.messaging.outbox import publish


async def follow_customers(session: AsyncSession, deliveries: Sequence[Delivery[CustomerChanged]]) -> None:
    await coverage.follow_customers(session, [delivery.event for delivery in deliveries])


async def close_days(session: AsyncSession, deliveries: Sequence[Delivery[DayReported]]) -> None:
    """Passes a day's close on, in the same partition and behind what was reported of the day."""
    for delivery in deliveries:
        closed = DayClosed(business_date=delivery.event.business_date)
        publish(session, closed, cause=delivery, partition=delivery.partition)


async def log_reported_contacts(session: AsyncSession, deliveries: Sequence[Delivery[ContactReported]]) -> None:
    await contacts.keep_contacts(session, [(_logged(delivery.event), delivery) for delivery in deliveries])


def _logged(event: ContactReported) -> ContactLogged:
    return ContactLogged(
        customer_id=event.customer_id,
        contact_id=event.contact_id,
        channel=event.channel,
        occurred_at=event.occurred_at,
        manager_id=event.manager_id,
        by_customer=event.by_customer,
    )


async def follow_complaints(session: AsyncSession, deliveries: Sequence[Delivery[ComplaintReported]]) -> None:
    await complaints.change_complaints(session, [(_changed(delivery.event), delivery) for delivery in deliveries])


def _changed(event: ComplaintReported) -> ComplaintChanged:
    return ComplaintChanged(
        customer_id=event.customer_id,
        complaint_id=event.complaint_id,
        revision=event.revision,
        opened_at=event.opened_at,
        resolved_at=event.resolved_at,
        outcome=event.outcome,
    )


async def keep_reported_surveys(session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
    await surveys.keep_surveys(session, [(_answered(delivery.event), delivery) for delivery in deliveries])


def _answered(event: SurveyReported) -> SurveyAnswered:
    return SurveyAnswered(
        customer_id=event.customer_id, survey_id=event.survey_id, answered_at=event.answered_at, score=event.score
    )


async def follow_accounts(session: AsyncSession, deliveries: Sequence[Delivery[AccountChanged]]) -> None:
    await accounts.follow_accounts(session, [delivery.event for delivery in deliveries])


async def tell_life_events(session: AsyncSession, deliveries: Sequence[Delivery[LifeEventReported]]) -> None:
    await timeline.add_entries(session, [_life_event(delivery.event) for delivery in deliveries])


def _life_event(event: LifeEventReported) -> Entry:
    return Entry(
        event.customer_id,
        EntryKind.LIFE_EVENT,
        event.life_event_id,
        start_of(event.happened_on),
        {"kind": event.kind.value},
        subject_id=event.life_event_id,
    )


async def tell_risk_bands(session: AsyncSession, deliveries: Sequence[Delivery[RiskBandChanged]]) -> None:
    await timeline.add_entries(session, [_risk_band(delivery) for delivery in deliveries])


def _risk_band(delivery: Delivery[RiskBandChanged]) -> Entry:
    event = delivery.event
    return Entry(
        event.customer_id,
        EntryKind.RISK_BAND_CHANGED,
        delivery.id,
        before(within(event.scored_on, delivery.occurred_at)),
        {"band": event.band.value, "points": event.points},
    )


async def follow_alerts(
    session: AsyncSession, deliveries: Sequence[Delivery[ChurnAlertRaised | ChurnAlertClosed]]
) -> None:
    await alerts.follow_alerts(session, deliveries)


async def tell_deliveries(session: AsyncSession, deliveries: Sequence[Delivery[AlertDelivered]]) -> None:
    await alerts.keep_told_alerts(session, [_delivered(delivery) for delivery in deliveries])


def _delivered(delivery: Delivery[AlertDelivered]) -> Entry:
    event = delivery.event
    facts = {"manager_id": event.manager_id, "channel": event.channel.value}
    return Entry(
        event.customer_id, EntryKind.ALERT_DELIVERED, delivery.id, event.delivered_at, facts, alert_id=event.alert_id
    )


async def tell_webhooks(session: AsyncSession, deliveries: Sequence[Delivery[AlertSentToWebhook]]) -> None:
    await alerts.keep_told_alerts(session, [_sent_to_webhook(delivery) for delivery in deliveries])


def _sent_to_webhook(delivery: Delivery[AlertSentToWebhook]) -> Entry:
    event = delivery.event
    facts = {"manager_id": event.manager_id, "channel": "webhook"}
    return Entry(
        event.customer_id, EntryKind.ALERT_DELIVERED, delivery.id, event.sent_at, facts, alert_id=event.alert_id
    )


async def tell_acknowledgements(session: AsyncSession, deliveries: Sequence[Delivery[AlertAcknowledged]]) -> None:
    await alerts.keep_told_alerts(session, [_acknowledged(delivery) for delivery in deliveries])


def _acknowledged(delivery: Delivery[AlertAcknowledged]) -> Entry:
    event = delivery.event
    facts = {"manager_id": event.manager_id}
    return Entry(
        event.customer_id,
        EntryKind.ALERT_ACKNOWLEDGED,
        delivery.id,
        event.acknowledged_at,
        facts,
        alert_id=event.alert_id,
    )


async def tell_snoozes(session: AsyncSession, deliveries: Sequence[Delivery[AlertSnoozed]]) -> None:
    await alerts.keep_told_alerts(session, [_snoozed(delivery) for delivery in deliveries])


def _snoozed(delivery: Delivery[AlertSnoozed]) -> Entry:
    event = delivery.event
    facts = {"manager_id": event.manager_id, "snoozed_until": event.snoozed_until.isoformat()}
    return Entry(
        event.customer_id, EntryKind.ALERT_SNOOZED, delivery.id, delivery.occurred_at, facts, alert_id=event.alert_id
    )
