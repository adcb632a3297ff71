"""What the interaction service publishes."""

from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from shared.events.base import CustomerEvent, Event
from shared.events.corebanking import ComplaintOutcome, ContactChannel
from shared.events.erasure import Purge
from shared.events.exports import ExportPart

TOPIC = "interaction.events"


class Outcome(StrEnum):
    """How a manager's effort to keep a customer ended."""

    SAVED = "saved"
    LOST = "lost"
    NOT_A_RISK = "not_a_risk"


class ContactLogged(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "interaction.contact_logged.v1"
    TOPIC: ClassVar[str] = TOPIC
    contact_id: UUID
    channel: ContactChannel
    occurred_at: datetime
    manager_id: str | None = None
    alert_id: UUID | None = None
    by_customer: bool = False


class ComplaintChanged(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """State of a complaint; it is open until `resolved_at`."""

    TYPE: ClassVar[str] = "interaction.complaint_changed.v1"
    TOPIC: ClassVar[str] = TOPIC
    complaint_id: UUID
    revision: int
    opened_at: datetime
    resolved_at: datetime | None = None
    outcome: ComplaintOutcome | None = None


class SurveyAnswered(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "interaction.survey_answered.v1"
    TOPIC: ClassVar[str] = TOPIC
    survey_id: UUID
    answered_at: datetime
    score: int


class DayClosed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The bank closed a business day. One goes to every partition, behind what was reported of that day."""

    TYPE: ClassVar[str] = "interaction.day_closed.v1"
    TOPIC: ClassVar[str] = TOPIC
    business_date: date

    @property
    def key(self) -> str:
        return "business-day"


class RetentionOutcomeRecorded(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "interaction.retention_outcome_recorded.v1"
    TOPIC: ClassVar[str] = TOPIC
    outcome_id: UUID
    alert_id: UUID
    outcome: Outcome
    recorded_by: str
    recorded_at: datetime


class CustomerPurged(Purge, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "interaction.customer_purged.v1"
    TOPIC: ClassVar[str] = TOPIC


class ExportPartPrepared(ExportPart, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "interaction.export_part_prepared.v1"
    TOPIC: ClassVar[str] = TOPIC
