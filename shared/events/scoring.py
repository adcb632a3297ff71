"""What the scoring service publishes."""

from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import msgspec

from shared.events.base import CustomerEvent
from shared.events.erasure import Purge
from shared.events.exports import ExportPart

TOPIC = "scoring.events"


class RiskBand(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class AlertClosure(StrEnum):
    """Why an alert closed."""

    OUTCOME = "outcome"
    RECOVERY = "recovery"
    DEPARTURE = "departure"


class AlertEnding(StrEnum):
    """Why an alert closed, with what came after the first release; its older readers refuse an unknown closure."""

    OUTCOME = "outcome"
    RECOVERY = "recovery"
    DEPARTURE = "departure"
    RESTRICTION = "restriction"
    """What is kept about the customer is not to be used for now."""


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the scorecard that applies: its points, and a sentence a manager can say aloud."""

    code: str
    points: int
    text: str


class RiskBandChanged(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "scoring.risk_band_changed.v1"
    TOPIC: ClassVar[str] = TOPIC
    scored_on: date
    points: int
    band: RiskBand


class ChurnAlertRaised(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Risk crossed the threshold from below. `is_historic`: found more than 7 days late, so nobody is told."""

    TYPE: ClassVar[str] = "scoring.churn_alert_raised.v1"
    TOPIC: ClassVar[str] = TOPIC
    alert_id: UUID
    raised_on: date
    points: int
    reasons: tuple[Reason, ...]
    is_historic: bool = False


class ChurnAlertClosed(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """`ending` says it where `closure` has no word: a restriction is a `departure` to readers that know no other."""

    TYPE: ClassVar[str] = "scoring.churn_alert_closed.v1"
    TOPIC: ClassVar[str] = TOPIC
    alert_id: UUID
    closed_at: datetime
    closure: AlertClosure
    is_historic: bool = False
    ending: AlertEnding | None = None

    @property
    def ended_by(self) -> AlertEnding:
        return self.ending or AlertEnding(self.closure)


class CustomerPurged(Purge, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "scoring.customer_purged.v1"
    TOPIC: ClassVar[str] = TOPIC


class ExportPartPrepared(ExportPart, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "scoring.export_part_prepared.v1"
    TOPIC: ClassVar[str] = TOPIC
