"""Mails to those who are told: over one connection for as long as there are some."""

from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import Counter

from services.notification.domain.mails import AlertMail, InvalidAddress, ReasonLine, customer_link, write_mail
from services.notification.domain.retries import Retries, wait_seconds
from services.notification.models import Channel
from services.notification.settings import NotificationSettings
from services.notification.use_cases.attempts import Answer, Attempts, Claim, Outcome
from services.notification.use_cases.relay import Relay
from shared.clock import Clock
from shared.database import Database

log = structlog.get_logger(__name__)

MAILS = Counter("branchline_notification_mail_attempts_total", "Attempts to send a mail.", ["outcome"])

LONGEST_RUN = timedelta(seconds=4)
"""After which a run ends, so that a shutdown need not wait for a long queue."""
LONGEST_PAUSE_SECONDS = 60.0


class MailSender:
    def __init__(self, settings: NotificationSettings, public_url: str, clock: Clock) -> None:
        self._settings = settings
        self._public_url = public_url
        self._clock = clock
        retries = Retries(settings.mail_attempts, settings.mail_first_wait_seconds, settings.mail_longest_wait_seconds)
        longest = settings.smtp_timeout_seconds
        self._attempts = Attempts(Channel.EMAIL, retries, clock, longest_seconds=longest, counter=MAILS)
        self._times_away = 0
        self._resumes_at = datetime.min.replace(tzinfo=UTC)

    async def send_due_mails(self, database: Database) -> None:
        """Sends what is due, until nothing is, the relay goes away, or the run has been long enough."""
        now = self._clock()
        if now < self._resumes_at:
            return
        ends_at = now + LONGEST_RUN
        relay = Relay(self._settings)
        try:
            while self._clock() < ends_at:
                claim = await self._attempts.claim(database)
                if claim is None:
                    return
                answer = await self._send(relay, claim)
                await self._attempts.record(database, claim, answer)
                if answer.outcome is Outcome.AWAY:
                    self._pause(answer)
                    return
                self._times_away = 0
        finally:
            await relay.close()

    async def _send(self, relay: Relay, claim: Claim) -> Answer:
        try:
            message = write_mail(self._mail(claim), self._settings.smtp_from)
        except InvalidAddress:
            return Answer(Outcome.REFUSED, "invalid_address")
        return await relay.send(message)

    def _mail(self, claim: Claim) -> AlertMail:
        alert, customer_id = claim.alert, claim.delivery.customer_id
        assert alert.raised_on is not None  # who is told is told of an alert that was raised
        assert alert.points is not None
        return AlertMail(
            delivery_id=claim.delivery_id,
            recipient=claim.recipient.email,
            customer_number=claim.customer_number,
            link=customer_link(self._settings.customer_url, public_url=self._public_url, customer_id=customer_id),
            raised_on=alert.raised_on,
            points=alert.points,
            reasons=[ReasonLine(reason["text"], reason["points"]) for reason in alert.reasons],
            created_at=claim.delivery.created_at,
        )

    def _pause(self, answer: Answer) -> None:
        """One mail at a time finds out whether the relay is back; the others keep their attempts."""
        self._times_away += 1
        pause = wait_seconds(self._times_away, first=1, longest=LONGEST_PAUSE_SECONDS)
        self._resumes_at = self._clock() + timedelta(seconds=pause)
        log.warning("mail_relay_away", code=answer.code, times=self._times_away, seconds=round(pause, 1))
