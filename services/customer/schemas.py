"""HTTP bodies of the customer service."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.customer.use_cases.receiving import Outcome
from shared.events.corebanking import AccountKind, PartyRelation
from shared.masking import masked
from shared.web.reading import WrittenInstant

StaffId = Annotated[str, Field(min_length=1, max_length=64, examples=["M0107"])]


class Money(BaseModel):
    amount_minor: int = Field(description="Minor units of the currency.", examples=[1_234_500])
    currency: str = Field(description="ISO 4217.", examples=["CNY"])


class Body(BaseModel):
    """A member that is not known is refused: a mistyped one would be as if it were left out."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Read(BaseModel):
    model_config = ConfigDict(from_attributes=True, hide_input_in_errors=True)


@masked
class CustomerRead(Read):
    customer_id: UUID
    customer_number: str = Field(examples=["10004217"])
    name: str | None = Field(examples=["Lin Meiqi"])
    birth_on: date | None
    phone: str | None = Field(examples=["+00 555 0142"])
    email: str | None = Field(examples=["customer@example.invalid"])
    address: str | None
    document_number: str | None = Field(description="Of the identity document.")
    branch_id: str = Field(examples=["B01"])
    manager_id: str | None = Field(examples=["M0107"])
    deputy_manager_id: str | None
    household_id: str | None
    customer_since: date | None
    left_on: date | None = Field(description="Set when the customer has left the bank.")


class CustomerLookup(Body):
    customer_ids: list[UUID] = Field(min_length=1, max_length=200)


@masked
class CustomerSearch(Body):
    """A body, not a query string: names and phones do not belong into logs of addresses."""

    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] = Field(
        description="A part of a name (one character may be a family name), the beginning of a customer number, or the"
        " whole of a phone number or an identity document's.",
        examples=["lin"],
    )


class Customers(BaseModel):
    items: list[CustomerRead]


class AssignmentUpdate(Body):
    manager_id: StaffId | None = Field(description="Who looks after the customer; null for nobody yet.")
    deputy_manager_id: StaffId | None = None


class RestrictionReason(StrEnum):
    """Article 18(1) of the GDPR, (a) to (d)."""

    ACCURACY_CONTESTED = "accuracy_contested"
    UNLAWFUL_PROCESSING = "unlawful_processing"
    LEGAL_CLAIMS = "legal_claims"
    OBJECTION_PENDING = "objection_pending"


class RestrictionUpdate(Body):
    reason: RestrictionReason = Field(examples=["accuracy_contested"])


class RestrictionRead(BaseModel):
    customer_id: UUID
    restricted: bool
    restricted_at: datetime | None
    reason: RestrictionReason | None


class ExportProgress(BaseModel):
    service: str = Field(examples=["interaction"])
    prepared: bool = Field(description="Whether all of its part has come.")


class ExportRead(BaseModel):
    export_id: UUID
    customer_id: UUID
    state: Literal["preparing", "ready", "expired"]
    requested_at: datetime
    ready_at: datetime | None
    expires_at: datetime = Field(description="From then on the archive is not kept.")
    services: list[ExportProgress]


class ErasureReason(StrEnum):
    """Article 17(1) of the GDPR, (a) to (e)."""

    NO_LONGER_NECESSARY = "no_longer_necessary"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    OBJECTION = "objection"
    UNLAWFUL_PROCESSING = "unlawful_processing"
    LEGAL_OBLIGATION = "legal_obligation"


class ErasureCreate(Body):
    reason: ErasureReason = Field(examples=["no_longer_necessary"])


class PurgedTableRead(BaseModel):
    table: str = Field(examples=["timeline_entry"])
    rows: int = Field(description="How many there were about the customer.", examples=[12])


class ErasurePartRead(BaseModel):
    service: str = Field(examples=["interaction"])
    key_destroyed: bool = Field(description="Whether its key is gone; only a backup from before has it.")
    purged_at: datetime | None = Field(description="Null until it has told.")
    tables: list[PurgedTableRead]


class ErasureCertificate(BaseModel):
    """That a customer was erased. It names nobody; whose it is, the customer's id tells who has kept that."""

    certificate_id: UUID
    reason: ErasureReason
    requested_at: datetime
    completed_at: datetime
    audit_reference: str | None = Field(description="`request_id` of the audit's record of who asked for it.")
    services: list[ErasurePartRead]


class ErasureRead(BaseModel):
    customer_id: UUID
    state: Literal["under_way", "complete"]
    requested_at: datetime
    services: list[ErasurePartRead]
    certificate: ErasureCertificate | None = Field(description="Null until every service has told what it deleted.")


class DelegationCreate(Body):
    delegate_id: StaffId = Field(description="Who sees the customers meanwhile.", examples=["M0112"])
    manager_id: StaffId | None = Field(default=None, description="Whose customers; yours when nobody is named.")
    customer_ids: list[UUID] | None = Field(
        default=None, min_length=1, max_length=500, description="Only these; all when none are named."
    )
    starts_at: WrittenInstant | None = Field(default=None, description="At once when it is left out.")
    ends_at: WrittenInstant = Field(description="From then on it no longer holds.", examples=["2026-12-14T08:00:00Z"])


class DelegationRead(Read):
    delegation_id: UUID
    manager_id: str = Field(examples=["M0107"])
    delegate_id: str = Field(examples=["M0112"])
    customer_ids: list[UUID] | None = Field(description="Null for the whole portfolio.")
    starts_at: datetime
    ends_at: datetime
    delegated_by: str = Field(examples=["M0107"])


class AccountRead(Read):
    account_id: UUID
    core_account_id: str = Field(description="The bank's own id.", examples=["A00004217-1"])
    kind: AccountKind
    currency: str = Field(examples=["CNY"])
    opened_on: date
    matures_on: date | None
    closed_on: date | None
    balance: Money | None = Field(
        description="What the core stated last, and what was booked after that; null before the first transaction."
    )
    balance_on: date | None = Field(description="The day of the last transaction.")
    transaction_count: int = Field(description="Booked so far, reversals included.", examples=[412])
    relation: PartyRelation | None = Field(default=None, description="The customer's relation to it.")


class Accounts(BaseModel):
    items: list[AccountRead]


class BranchRead(Read):
    branch_id: str = Field(examples=["B01"])
    name: str = Field(examples=["Riverside"])
    city: str | None
    parent_branch_id: str | None


@masked
class ManagerRead(Read):
    manager_id: str = Field(examples=["M0107"])
    branch_id: str = Field(examples=["B01"])
    name: str = Field(examples=["Chen Yue"])
    email: str = Field(description="Work address.", examples=["m0107@bank.example"])
    is_branch_head: bool
    is_active: bool


class ReceiptError(BaseModel):
    """One event that was not applied, and why. No value of it is repeated."""

    line: int = Field(description="Of NDJSON, or place in the batch, from 1.", examples=[3])
    id: str | None = Field(description="The event's id, where it could be read.", examples=["evt-2077"])
    outcome: Outcome = Field(examples=["parked"])
    code: str = Field(examples=["malformed_event"])
    pointer: str = Field(description="JSON pointer into the event.", examples=["/data/amount_minor"])
    detail: str = Field(examples=["Expected `int`, got `str`"])


class IngestionRead(BaseModel):
    """What became of the events: all that could be applied are, whatever became of the others."""

    received: int = Field(examples=[3])
    applied: int = Field(examples=[2])
    held: int = Field(examples=[0], description="They name what has not arrived yet, and are applied when it does.")
    parked: int = Field(examples=[1], description="They are wrong; send them again, mended, under the same id.")
    duplicate: int = Field(examples=[0])
    errors: list[ReceiptError] = Field(description="The first 1,000 that are held or parked.")


class KeptRead(Read):
    code: str = Field(examples=["unknown_account"])
    pointer: str | None = Field(examples=["/data/account_id"])
    detail: str = Field(examples=["the account that it names has not arrived yet; it is applied when that does"])
    waits_for: str | None = Field(examples=["account:A00004217-1"])
    kept_at: datetime


class CoreEventRead(BaseModel):
    source: str = Field(examples=["core"])
    id: str = Field(examples=["evt-2077"])
    type: str = Field(examples=["corebanking.transaction_posted.v1"])
    outcome: Outcome = Field(examples=["held"])
    received_at: datetime
    kept: list[KeptRead] = Field(description="What is held or parked under this id.")


class KeptEventRead(BaseModel):
    """An event of the core that is held or parked. What it holds is not told."""

    kept_id: str = Field(description="For its own address.", examples=["WyJjb3JlIiwi"])
    source: str = Field(examples=["core"])
    id: str = Field(examples=["evt-2077"])
    code: str = Field(examples=["malformed_event"])
    pointer: str | None = Field(examples=["/data/amount_minor"])
    detail: str = Field(examples=["Expected `int`, got `str`"])
    waits_for: str | None = Field(description="Of a held one.", examples=[None])
    kept_at: datetime


@masked
class KeptEventEditRead(BaseModel):
    cloud_event: str | None = Field(
        description="As it was before; null when it is gone with its customer's key.",
        examples=['{"specversion": "1.0", "id": "evt-2077"}'],
    )
    edited_at: datetime
    edited_by: str = Field(examples=["OP1"])


@masked
class KeptEventShown(KeptEventRead):
    """With what it holds, which is personal, and what it held before it was mended."""

    cloud_event: str | None = Field(
        description="In structured JSON; null when it is gone with its customer's key.",
        examples=['{"specversion": "1.0", "id": "evt-2077"}'],
    )
    history: list[KeptEventEditRead] = Field(description="Of its id, the first edit first.")


@masked
class KeptEventMend(BaseModel):
    patch: dict[str, Any] = Field(
        default_factory=dict,
        description="A JSON merge patch (RFC 7396) of the CloudEvent; none receives it as it is.",
        examples=[{"data": {"currency": "CNY"}}],
    )


class ReceiptRead(BaseModel):
    """What became of an event that was received again."""

    source: str = Field(examples=["core"])
    id: str = Field(examples=["evt-2077"])
    outcome: Outcome = Field(examples=["applied"])
    code: str | None = Field(description="Why it is kept.", examples=[None])
    pointer: str | None = Field(examples=[None])
    detail: str | None = Field(examples=[None])


class KeptEventsReplayed(BaseModel):
    """What became of some that were received again, and where to go on."""

    settled: int = Field(description="Applied, or known already.", examples=[48])
    kept: int = Field(description="Still held or parked.", examples=[2])
    next: str | None = Field(description="Send as `cursor` for what follows; null at the end.")


class ReconciliationFindingRead(Read):
    account_id: UUID
    as_of: date
    stated: Money = Field(description="The balance that the core stated last.")
    posted: Money = Field(description="The sum of all amounts.")
    difference: Money
