"""Deliveries on their way: claimed one by one, sent without a transaction open, recorded each as soon as it is known.

A claim is a lease: whoever dies between claim and record leaves a delivery that is tried again when the lease has run
out. If the receiver had taken it already, they get the same one under the same id twice; neither SMTP nor HTTP allows
less. A claim is one delivery and not a batch, so that no lease runs out while others are slow.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.domain.retries import Retries, wait_seconds
from services.notification.models import Alert, Channel, Delivery, DeliveryState, Recipient
from services.notification.use_cases.recipients import looks_after
from shared.audit.unattended import reach
from shared.clock import Clock
from shared.database import Database
from shared.events.notification import AlertDelivered, AlertSentToWebhook
from shared.events.notification import Channel as PublishedChannel
from shared.messaging.outbox import publish
from shared.scope import customer_scope

log = structlog.get_logger(__name__)

_CLAIM = text(
    "with due as ("
    "  select delivery_id from delivery"
    "  where state = 'pending' and channel = :channel and due_at <= :now and staff_id <> all (cast(:but as text[]))"
    "  order by due_at, delivery_id limit 1 for update skip locked)"
    " update delivery d set attempts = attempts + 1, due_at = :lease_ends_at"
    " from due where d.delivery_id = due.delivery_id"
    " returning d.delivery_id"
)


class Outcome(StrEnum):
    SENT = "sent"
    REFUSED = "refused"
    """The receiver will never take this one."""
    LATER = "later"
    """The receiver may take this one later."""
    AWAY = "away"
    """The receiver takes none of ours at present: it is not there, or has had enough, or does not like our settings."""


class Answer(NamedTuple):
    """`code` is stable and holds nothing of what the receiver said, which may quote addresses."""

    outcome: Outcome
    code: str | None = None
    wait_seconds: float = 0
    """The least that it asks for."""


@dataclass(frozen=True)
class Claim:
    """A delivery that is ours until its lease ends. `delivery.attempts` tells this claim from an earlier one."""

    delivery: Delivery
    alert: Alert
    recipient: Recipient
    customer_number: str

    @property
    def delivery_id(self) -> UUID:
        return self.delivery.delivery_id


class Attempts:
    """What becomes of the deliveries of one channel."""

    def __init__(
        self, channel: Channel, retries: Retries, clock: Clock, *, longest_seconds: float, counter: Counter
    ) -> None:
        """`longest_seconds` is what one attempt may take; `counter` has the label `outcome`."""
        self._channel = channel
        self._retries = retries
        self._clock = clock
        self._lease = timedelta(seconds=5 + 2 * longest_seconds)
        self._counter = counter

    async def claim(self, database: Database, *, but: Collection[str] = ()) -> Claim | None:
        """What has been due for longest and is not for one of `but`.

        Who has left, or looks after the customer no more, is not told.
        """
        while True:
            now = self._clock()
            due = {"channel": self._channel, "now": now, "lease_ends_at": now + self._lease, "but": list(but)}
            async with database.transaction() as session:
                delivery_id = await session.scalar(_CLAIM, due)
                if delivery_id is None:
                    return None
                claim, may_see = await _read(session, delivery_id, now)
                if claim.recipient.is_active and may_see:
                    return claim
                code = "reassigned" if claim.recipient.is_active else "recipient_inactive"
                reach(session, [claim.delivery.customer_id])
                await _change(session, claim, state=DeliveryState.CANCELLED, code=code)

    async def record(self, database: Database, claim: Claim, answer: Answer) -> datetime | None:
        """What the attempt came to; when it is tried again, if it is."""
        self._counter.labels(answer.outcome).inc()
        async with database.transaction() as session:
            reach(session, [claim.delivery.customer_id])
            if answer.outcome is Outcome.SENT:
                await self._record_delivered(session, claim)
            elif answer.outcome is Outcome.REFUSED or claim.delivery.attempts >= self._retries.attempts:
                log.warning(
                    "delivery_failed", channel=self._channel, delivery_id=str(claim.delivery_id), code=answer.code
                )
                await _change(session, claim, state=DeliveryState.FAILED, code=answer.code)
            else:
                first, longest = self._retries.first, self._retries.longest
                wait = wait_seconds(claim.delivery.attempts, first=first, longest=longest)
                due_at = self._clock() + timedelta(seconds=max(wait, answer.wait_seconds))
                await _change(session, claim, due_at=due_at, code=answer.code)
                return due_at
        return None

    async def cancel(self, database: Database, claim: Claim, code: str) -> None:
        async with database.transaction() as session:
            reach(session, [claim.delivery.customer_id])
            await _change(session, claim, state=DeliveryState.CANCELLED, code=code)

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
            event = _told(claim.delivery, self._channel, now)
            publish(session, event, occurred_at=now)


def _told(delivery: Delivery, channel: Channel, now: datetime) -> AlertDelivered | AlertSentToWebhook:
    customer_id, alert_id, manager_id = delivery.customer_id, delivery.alert_id, delivery.staff_id
    if channel is Channel.WEBHOOK:
        return AlertSentToWebhook(customer_id=customer_id, alert_id=alert_id, manager_id=manager_id, sent_at=now)
    return AlertDelivered(
        customer_id=customer_id,
        alert_id=alert_id,
        manager_id=manager_id,
        channel=PublishedChannel(channel),
        delivered_at=now,
    )


async def _read(session: AsyncSession, delivery_id: UUID, now: datetime) -> tuple[Claim, bool]:
    """The claim, and whether the recipient may see the customer."""
    *read, may_see = (
        await session.execute(
            select(Delivery, Alert, Recipient, customer_scope.c.customer_number, looks_after(now))
            .join(Alert, Alert.alert_id == Delivery.alert_id)
            .join(Recipient, Recipient.staff_id == Delivery.staff_id)
            .join(customer_scope, customer_scope.c.customer_id == Delivery.customer_id)
            .where(Delivery.delivery_id == delivery_id)
        )
    ).one()
    return Claim(*read), may_see


async def _change(session: AsyncSession, claim: Claim, **values: object) -> None:
    """Changes the delivery while it is still this claim's."""
    await session.execute(
        update(Delivery)
        .where(
            Delivery.delivery_id == claim.delivery_id,
            Delivery.attempts == claim.delivery.attempts,
            Delivery.state == DeliveryState.PENDING,
        )
        .values(**values)
    )
