"""HTTP bodies of the notification service."""

from datetime import date, datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.notification.models import AlertState, Channel, DeliveryState, ItemState
from shared.events.scoring import AlertEnding
from shared.masking import masked
from shared.web.reading import WrittenInstant


class ReasonRead(BaseModel):
    code: str = Field(examples=["salary_stopped"])
    points: int = Field(examples=[25])
    text: str = Field(examples=["No salary has arrived for 43 days; before that one came every month."])


class InboxItemRead(BaseModel):
    """An alert in your inbox."""

    item_id: UUID
    alert_id: UUID
    customer_id: UUID
    customer_number: str = Field(examples=["10004217"])
    raised_on: date
    points: int = Field(examples=[72])
    reasons: list[ReasonRead]
    state: ItemState
    created_at: datetime
    acknowledged_at: datetime | None
    snoozed_until: datetime | None
    closed_at: datetime | None
    closure: AlertEnding | None = Field(description="Why the alert was closed.")


class InboxCount(BaseModel):
    """How many items want something."""

    open: int = Field(description="Neither acknowledged nor put off.", examples=[3])
    snoozed: int = Field(examples=[1])
    acknowledged: int = Field(description="Acknowledged, and their alert not closed yet.", examples=[5])


class Snooze(BaseModel):
    model_config = ConfigDict(extra="forbid")

    until: WrittenInstant = Field(
        description="When it is to come back: in the future and within 30 days.", examples=["2026-11-27T08:00:00Z"]
    )


@masked
class WebhookUpdate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        max_length=2000,
        description="https, on port 443 or 8443, of an address on the Internet, without a name or a password in it.",
        examples=["https://hooks.bank.example/alerts"],
    )


@masked
class WebhookRead(BaseModel):
    """Where your alerts are sent."""

    url: str | None = Field(
        description="Null when they are not sent anywhere.", examples=["https://hooks.bank.example/alerts"]
    )
    set_at: datetime | None
    switched_off_at: datetime | None = Field(description="Nothing is sent since: set it again.")
    code: str | None = Field(description="Why it was switched off.", examples=["http_410"])


@masked
class WebhookWithSecret(WebhookRead):
    """Where your alerts are sent, and what they are signed with."""

    secret: str = Field(
        description="`whsec_` and base64; this answer is the only one that shows it.",
        examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
    )


class DeliveryRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    delivery_id: UUID
    staff_id: str = Field(examples=["M0107"])
    channel: Channel
    state: DeliveryState
    attempts: int = Field(examples=[1])
    code: str | None = Field(description="Why the last attempt, or all of it, came to nothing.", examples=["smtp_451"])
    created_at: datetime
    delivered_at: datetime | None
    next_attempt_at: datetime | None = Field(description="While it is pending.")


class AlertDeliveries(BaseModel):
    """Where an alert went."""

    alert_id: UUID
    state: AlertState = Field(description="`unresolved` while nobody who could be told is known.")
    items: list[DeliveryRead]
