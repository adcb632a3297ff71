"""What the notification service publishes."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from shared.events.base import CustomerEvent
from shared.events.erasure import Purge
from shared.events.exports import ExportPart

TOPIC = "notification.events"


class Channel(StrEnum):
    INBOX = "inbox"
    EMAIL = "email"


class AlertDelivered(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "notification.alert_delivered.v1"
    TOPIC: ClassVar[str] = TOPIC
    alert_id: UUID
    manager_id: str
    channel: Channel
    delivered_at: datetime


class AlertSentToWebhook(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Told at an address of the manager's own: beside AlertDelivered, whose channels its readers know."""

    TYPE: ClassVar[str] = "notification.alert_sent_to_webhook.v1"
    TOPIC: ClassVar[str] = TOPIC
    alert_id: UUID
    manager_id: str
    sent_at: datetime


class AlertAcknowledged(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "notification.alert_acknowledged.v1"
    TOPIC: ClassVar[str] = TOPIC
    alert_id: UUID
    manager_id: str
    acknowledged_at: datetime


class AlertSnoozed(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "notification.alert_snoozed.v1"
    TOPIC: ClassVar[str] = TOPIC
    alert_id: UUID
    manager_id: str
    snoozed_until: datetime


class CustomerPurged(Purge, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "notification.customer_purged.v1"
    TOPIC: ClassVar[str] = TOPIC


class ExportPartPrepared(ExportPart, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "notification.export_part_prepared.v1"
    TOPIC: ClassVar[str] = TOPIC
