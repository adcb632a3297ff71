"""Mails on their way: claimed one by one, sent without a transaction open, recorded each as soon as it is known.

A claim is a lease: whoever dies between claim and record leaves a mail that is tried again when the lease has run
out. If the server had taken it already, it gets the same mail with the same Message-ID twice; SMTP allows no less.
A claim is one mail and not a batch, so that no lease runs out while others' mails are slow; the connection is kept.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.domain.mails import AlertMail, InvalidAddress, ReasonLine, customer_link, write_mail
from services.notification.domain.retries import wait_seconds
from services.notification.models import Alert, Channel, Delivery, DeliveryState, Recipient
from services.notification.settings import NotificationSettings
from services.notification.use_cases.recipients import looks_after
from services.notification.use_cases.relay import Answer, Outcome, Relay
from shared.clock import Clock
from shared.database import Database
from shared.events.notification import AlertDelivered
from shared.messaging.outbox import publish
from shared.scope import customer_scope

log = structlog.get_logger(__name__)

MAILS = Counter("branchline_notification_mail_attempts_total", "Attempts to send a mail.", ["outcome"])

RUN_SECONDS = 4.0
"""After which a run ends, so that a shutdown need not wait for a long queue."""
LONGEST_PAUSE_SECONDS = 60.0

_CLAIM = text(
    "with due as ("
    "  select delivery_id from delivery"
    "  where state = 'pending' and due_at <= :now"
    "  order by due_at, delivery_id limit 1 for update skip locked)"
    " update delivery d set attempts = attempts + 1, due_at = :lease_ends_at"
    " from due where d.delivery_id = due.delivery_id"
    " returning d.delivery_id, d.attempts"
)
_CANCEL = text("update delivery set state = 'cancelled', code = :code where delivery_id = :delivery_id")


@dataclass(frozen=True)
class Claim:
    """A mail that is ours until its lease ends. `attempts` tells this claim from an earlier one."""

    delivery_id: UUID
    attempts: int
    alert_id: UUID
    customer_id: UUID
    staff_id: str
    mail: AlertMail


class MailSender:
    def __init__(self, settings: NotificationSettings, public_url: str, clock: Clock) -> None:
        self._settings = settings
        self._public_url = public_url
        self._clock = clock
        self._lease = timedelta(seconds=5 + 2 * settings.smtp_timeout_seconds)
        self._times_away = 0
        self._resumes_at = float("-inf")

    async def send_due_mails(self, database: Database) -> None:
        """Sends what is due, until nothing is, the relay goes away, or the run has been long enough."""
        if time.monotonic() < self._resumes_at:
            return
        ends_at = time.monotonic() + RUN_SECONDS
        relay = Relay(self._settings)
        try:
            while time.monotonic() < ends_at:
                claim = await self._claim(database)
                if claim is None:
                    return
                answer = await self._send(relay, claim.mail)
                await self._record(database, claim, answer)
                if answer.outcome is Outcome.AWAY:
                    self._pause(answer)
                    return
                self._times_away = 0
        finally:
            await relay.close()

    async def _send(self, relay: Relay, mail: AlertMail) -> Answer:
        try:
            message = write_mail(mail, self._settings.smtp_from)
        except InvalidAddress:
            return Answer(Outcome.REFUSED, "invalid_address")
        return await relay.send(message)

    def _pause(self, answer: Answer) -> None:
        """One mail at a time finds out whether the relay is back; the others keep their attempts."""
        self._times_away += 1
        pause = wait_seconds(self._times_away, first=1, longest=LONGEST_PAUSE_SECONDS)
        self._resumes_at = time.monotonic() + pause
        log.warning("mail_relay_away", code=answer.code, times=self._times_away, seconds=round(pause, 1))

    async def _claim(self, database: Database) -> Claim | None:
        """The mail that has been due for longest; who has left, or looks after the customer no more, is not mailed."""
        while True:
            now = self._clock()
            async with database.transaction() as session:
                found = (await session.execute(_CLAIM, {"now": now, "lease_ends_at": now + self._lease})).one_or_none()
                if found is None:
                    return None
                claim, is_active, may_see = await self._read(session, *found, now=now)
                if is_active and may_see:
                    return claim
                code = "reassigned" if is_active else "recipient_inactive"
                await session.execute(_CANCEL, {"delivery_id": claim.delivery_id, "code": code})

    async def _read(
        self, session: AsyncSession, delivery_id: UUID, attempts: int, *, now: datetime
    ) -> tuple[Claim, bool, bool]:
        delivery, alert, recipient, customer_number, may_see = (
            await session.execute(
                select(Delivery, Alert, Recipient, customer_scope.c.customer_number, looks_after(now))
                .join(Alert, Alert.alert_id == Delivery.alert_id)
                .join(Recipient, Recipient.staff_id == Delivery.staff_id)
                .join(customer_scope, customer_scope.c.customer_id == Delivery.customer_id)
                .where(Delivery.delivery_id == delivery_id)
            )
        ).one()
        mail = AlertMail(
            delivery_id=delivery_id,
            recipient=recipient.email,
            customer_number=customer_number,
            link=customer_link(
                self._settings.customer_url, public_url=self._public_url, customer_id=delivery.customer_id
            ),
            raised_on=alert.raised_on,
            points=alert.points,
            reasons=[ReasonLine(reason["text"], reason["points"]) for reason in alert.reasons],
            created_at=delivery.created_at,
        )
        claim = Claim(delivery_id, attempts, delivery.alert_id, delivery.customer_id, delivery.staff_id, mail)
        return claim, recipient.is_active, may_see

    async def _record(self, database: Database, claim: Claim, answer: Answer) -> None:
        MAILS.labels(answer.outcome).inc()
        async with database.transaction() as session:
            if answer.outcome is Outcome.SENT:
                await self._record_delivered(session, claim)
            elif answer.outcome is Outcome.REFUSED or claim.attempts >= self._settings.mail_attempts:
                log.warning("mail_failed", delivery_id=str(claim.delivery_id), code=answer.code)
                await _change(session, claim, state=DeliveryState.FAILED, code=answer.code)
            else:
                wait = wait_seconds(
                    claim.attempts,
                    first=self._settings.mail_first_wait_seconds,
                    longest=self._settings.mail_longest_wait_seconds,
                )
                await _change(session, claim, due_at=self._clock() + timedelta(seconds=wait), code=answer.code)

    async def _record_delivered(self, session: AsyncSession, claim: Claim) -> None:
        """It went, whoever else has claimed or cancelled it since."""
        now = self._clock()
        recorded = await session.scalar(
            update(Delivery)
            .where(
                Delivery.delivery_id == claim.delivery_id,
                Delivery.state.in_([DeliveryState.PENDING, DeliveryState.CANCELLED]),
            )
            .values(state=DeliveryState.DELIVERED, delivered_at=now, code=None)
            .returning(Delivery.delivery_id)
        )
        if recorded is not None:
            event = AlertDelivered(
                customer_id=claim.customer_id,
                alert_id=claim.alert_id,
                manager_id=claim.staff_id,
                channel=Channel.EMAIL,
                delivered_at=now,
            )
            publish(session, event, occurred_at=now)


async def _change(session: AsyncSession, claim: Claim, **values: object) -> None:
    """Changes the delivery while it is still this claim's."""
    await session.execute(
        update(Delivery)
        .where(
            Delivery.delivery_id == claim.delivery_id,
            Delivery.attempts == claim.attempts,
            Delivery.state == DeliveryState.PENDING,
        )
        .values(**values)
    )
