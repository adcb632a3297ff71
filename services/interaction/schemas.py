"""HTTP bodies of the interaction service."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from services.interaction.domain.timeline import EntryKind
from shared.events.corebanking import ComplaintOutcome, ContactChannel
from shared.events.interaction import Outcome
from shared.web.reading import WrittenInstant

ALERT_ID, CONTACT_ID = "0193a1c8-9b40-7c11-8d02-5a3c1e9f7d21", "0193a2f0-11c4-7a90-8f3e-6b2d9c5e7a10"

CustomerId = Annotated[UUID, Field(examples=["0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10"])]
ContactId = Annotated[UUID, Field(examples=[CONTACT_ID])]
AlertId = Annotated[UUID, Field(examples=[ALERT_ID])]
OutcomeId = Annotated[UUID, Field(examples=["0193a2f4-3e58-7d02-b1c7-0e9a4f6d8b32"])]
ComplaintId = Annotated[UUID, Field(examples=["01930f5a-60d1-7b44-9c2e-8a1f3d5b7e09"])]
StaffId = Annotated[str, Field(examples=["M0107"])]
Instant = Annotated[datetime, Field(examples=["2026-11-24T09:30:00Z"])]


class Create(BaseModel):
    """Refuses what it does not know: a note, for one, would be lost without a word."""

    model_config = ConfigDict(extra="forbid")


class Read(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class ContactCreate(Create):
    channel: ContactChannel
    occurred_at: WrittenInstant | None = Field(
        default=None, description="When it was, now by default; never ahead.", examples=["2026-11-24T09:30:00Z"]
    )
    alert_id: UUID | None = Field(
        default=None, description="The alert of this customer that it is about, if any.", examples=[ALERT_ID]
    )
    by_customer: bool = Field(default=False, description="Whether the customer began it.")


class ContactRead(Read):
    contact_id: ContactId
    customer_id: CustomerId
    channel: ContactChannel
    occurred_at: Instant
    manager_id: StaffId | None = Field(description="Who talked to the customer, where that is known.")
    alert_id: AlertId | None
    by_customer: bool
    recorded_at: Instant = Field(description="When it was written here.")


class TimelineEntryRead(BaseModel):
    entry_id: UUID = Field(examples=["0193a2f0-11c4-7c3d-8e51-90b7f2a6d4c8"])
    kind: EntryKind
    occurred_at: Instant = Field(
        description="When it happened. What is known by its day alone stands at the day's beginning;"
        " alerts and risk bands at the latest at the end of the day that they are about."
    )
    summary: str = Field(description="A sentence in plain words.", examples=["M0107 called the customer"])
    references: dict[str, UUID] = Field(
        description="Ids to read more by, under their names.",
        examples=[{"contact_id": CONTACT_ID, "alert_id": ALERT_ID}],
    )


class ComplaintRead(Read):
    complaint_id: ComplaintId
    customer_id: CustomerId
    opened_at: Instant
    resolved_at: Instant | None = Field(description="Null while it is open.")
    outcome: ComplaintOutcome | None


class OutcomeCreate(Create):
    alert_id: AlertId
    outcome: Outcome


class OutcomeRead(Read):
    outcome_id: OutcomeId
    customer_id: CustomerId
    alert_id: AlertId
    outcome: Outcome
    recorded_by: StaffId
    recorded_at: Instant


class NotContactedRead(BaseModel):
    customer_id: CustomerId
    customer_number: str = Field(examples=["10004217"])
    branch_id: str = Field(examples=["B01"])
    manager_id: StaffId | None
    last_contacted_at: Instant | None = Field(description="Null for a customer with whom no contact is known.")
