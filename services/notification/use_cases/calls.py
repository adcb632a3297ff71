"""Webhooks on their way to those who are told: several at a time, each target one at a time."""

import asyncio
from datetime import datetime, timedelta

import httpx
from prometheus_client import Counter
from sqlalchemy import update

from services.notification.domain.mails import customer_link
from services.notification.domain.retries import Retries, retry_after_seconds
from services.notification.domain.webhooks import AlertNotice, signed_headers, write_notice
from services.notification.models import Channel, Delivery, DeliveryState
from services.notification.settings import NotificationSettings
from services.notification.use_cases.attempts import Answer, Attempts, Claim, Outcome
from services.notification.use_cases.webhooks import Set, find_webhook, switch_off
from shared.clock import Clock
from shared.database import Database
from shared.outbound import ForbiddenTarget, OutboundClient, Reply

CALLS = Counter("branchline_notification_webhook_attempts_total", "Attempts to call a webhook.", ["outcome"])

LONGEST_RUN = timedelta(seconds=4)
"""After which a run begins nothing new, so that a shutdown need not wait for a long queue."""
AT_ONCE = 4
MOST_ASKED_SECONDS = 86_400.0
"""What a Retry-After is believed up to."""

GONE = 410
AGAIN = frozenset({408, 425})
"""Request Timeout and Too Early: for this request, for now."""
ENOUGH = frozenset({429, 502, 503, 504})
"""Too many requests, or a server that says it is not there: no other delivery fares better now."""


class WebhookSender:
    def __init__(self, settings: NotificationSettings, public_url: str, clock: Clock, outbound: OutboundClient) -> None:
        self._settings = settings
        self._public_url = public_url
        self._clock = clock
        self._outbound = outbound
        retries = Retries(
            settings.webhook_attempts, settings.webhook_first_wait_seconds, settings.webhook_longest_wait_seconds
        )
        self._attempts = Attempts(
            Channel.WEBHOOK, retries, clock, longest_seconds=settings.webhook_timeout_seconds, counter=CALLS
        )

    async def send_due_webhooks(self, database: Database) -> None:
        """Sends what is due, until nothing is or the run has been long enough. A slow target holds up its own only."""
        ends_at = self._clock() + LONGEST_RUN
        claiming, in_hand = asyncio.Lock(), set[str]()

        async def send_some() -> None:
            while self._clock() < ends_at:
                async with claiming:
                    claim = await self._attempts.claim(database, but=in_hand)
                    if claim is None:
                        return
                    in_hand.add(claim.delivery.staff_id)
                try:
                    await self._send(database, claim)
                finally:
                    in_hand.discard(claim.delivery.staff_id)

        async with asyncio.TaskGroup() as senders:
            for _ in range(AT_ONCE):
                senders.create_task(send_some())

    async def _send(self, database: Database, claim: Claim) -> None:
        async with database.transaction() as session:
            found = await find_webhook(session, claim.delivery.staff_id)
        if found is None or not self._settings.webhooks:
            await self._attempts.cancel(database, claim, "webhook_off")
            return
        answer = await self._call(found, claim)
        due_at = await self._attempts.record(database, claim, answer)
        if answer.code == _code(GONE):
            async with database.transaction() as session:
                await switch_off(session, found.webhook, answer.code, self._clock())
        elif due_at is not None and answer.outcome is Outcome.AWAY:
            await _postpone(database, claim.delivery.staff_id, due_at)

    async def _call(self, found: Set, claim: Claim) -> Answer:
        assert found.target is not None  # find_webhook finds no other
        body = write_notice(self._notice(claim))
        headers = signed_headers(found.target.secret, claim.delivery_id, body, self._clock())
        try:
            reply = await self._outbound.post(found.target.address, body, headers)
        except ForbiddenTarget as refused:
            return Answer(Outcome.REFUSED, refused.code)
        except (TimeoutError, httpx.TimeoutException):
            return Answer(Outcome.AWAY, "timeout")
        except (OSError, httpx.ConnectError):
            return Answer(Outcome.AWAY, "connection_failed")
        except httpx.HTTPError:
            return Answer(Outcome.LATER, "connection_lost")
        return answer_of(reply, self._clock())

    def _notice(self, claim: Claim) -> AlertNotice:
        alert, delivery = claim.alert, claim.delivery
        assert alert.raised_on is not None  # who is told is told of an alert that was raised
        assert alert.points is not None
        link = customer_link(self._settings.customer_url, public_url=self._public_url, customer_id=delivery.customer_id)
        return AlertNotice(
            delivery_id=delivery.delivery_id,
            alert_id=delivery.alert_id,
            customer_id=delivery.customer_id,
            link=link,
            raised_on=alert.raised_on,
            points=alert.points,
            reasons=[(reason["code"], reason["points"]) for reason in alert.reasons],
            created_at=delivery.created_at,
        )


def answer_of(reply: Reply, now: datetime) -> Answer:
    """2xx is taken; 5xx and what says so is for now; the rest, redirects among them, is for ever."""
    code, wait = _code(reply.status), retry_after_seconds(reply.retry_after, now, most=MOST_ASKED_SECONDS)
    if 200 <= reply.status <= 299:
        return Answer(Outcome.SENT)
    if reply.status in ENOUGH:
        return Answer(Outcome.AWAY, code, wait)
    if reply.status in AGAIN or reply.status >= 500:
        return Answer(Outcome.LATER, code, wait)
    return Answer(Outcome.REFUSED, code)


def _code(status: int) -> str:
    return f"http_{status}"


async def _postpone(database: Database, staff_id: str, until: datetime) -> None:
    """One delivery at a time finds out whether its target is back; the others keep their attempts."""
    async with database.transaction() as session:
        await session.execute(
            update(Delivery)
            .where(
                Delivery.channel == Channel.WEBHOOK,
                Delivery.state == DeliveryState.PENDING,
                Delivery.staff_id == staff_id,
                Delivery.due_at < until,
            )
            .values(due_at=until)
        )
