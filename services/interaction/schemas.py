"""HTTP bodies of the interaction service."""

from datetime import datetime
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.interaction.domain.timeline import Kind
from shared.events.corebanking import ComplaintOutcome, ContactChannel
from shared.events.interaction import Outcome

_ID = "0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10"
_ALERT = "0193a1c8-9b40-7c11-8d02-5a3c1e9f7d21"


class Create(BaseModel):
    """Refuses what it does not know: a note, for one, would be lost without a word."""

    model_config = ConfigDict(extra="forbid")


class Read(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ContactCreate(Create):
    channel: ContactChannel
    occurred_at: AwareDatetime | None = Field(
        default=None, description="When it was, now by default; never ahead.", examples=["2026-11-24T09:30:00Z"]
    )
    alert_id: UUID | None = Field(default=None, description="The alert that it is about, if any.", examples=[_ALERT])
    by_customer: bool = Field(default=False, description="Whether the customer began it.")


class ContactRead(Read):
    contact_id: UUID = Field(examples=[_ID])
    customer_id: UUID
    channel: ContactChannel
    occurred_at: datetime
    manager_id: str | None = Field(description="Who talked to the customer, where that is known.", examples=["M0107"])
    alert_id: UUID | None = Field(examples=[_ALERT])
    by_customer: bool
    recorded_at: datetime = Field(description="When it was written here.")


class TimelineEntryRead(BaseModel):
    entry_id: UUID
    kind: Kind
    occurred_at: datetime = Field(
        description="When it happened. What is known by its day alone stands at the day's beginning;"
        " alerts and risk bands at the latest at the end of the day that they are about."
    )
    summary: str = Field(description="A sentence in plain words.", examples=["M0107 called the customer"])
    references: dict[str, UUID] = Field(
        description="Ids to read more by, under their names.",
        examples=[{"contact_id": _ID, "alert_id": _ALERT}],
    )


class ComplaintRead(Read):
    complaint_id: UUID
    customer_id: UUID
    opened_at: datetime
    resolved_at: datetime | None = Field(description="Null while it is open.")
    outcome: ComplaintOutcome | None


class OutcomeCreate(Create):
    alert_id: UUID = Field(examples=[_ALERT])
    outcome: Outcome


class OutcomeRead(Read):
    outcome_id: UUID = Field(examples=[_ID])
    customer_id: UUID
    alert_id: UUID = Field(examples=[_ALERT])
    outcome: Outcome
    recorded_by: str = Field(examples=["M0107"])
    recorded_at: datetime


class NotContactedRead(BaseModel):
    customer_id: UUID
    customer_number: str = Field(examples=["10004217"])
    branch_id: str = Field(examples=["B01"])
    manager_id: str | None = Field(examples=["M0107"])
    last_contacted_at: datetime | None = Field(description="Null for a customer with whom no contact is known.")
