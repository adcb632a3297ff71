"""What the customer service publishes: ids, never a name, document, phone or address of a customer."""

from datetime import date, datetime
from typing import ClassVar
from uuid import UUID

import msgspec

from shared.events.base import CustomerEvent, Event
from shared.events.corebanking import (
    AccountKind,
    ComplaintOutcome,
    ContactChannel,
    LifeEventKind,
    TransactionKind,
)
from shared.events.erasure import Purge
from shared.events.exports import ExportPart
from shared.masking import masked

TOPIC = "customer.events"
TRANSACTIONS_TOPIC = "customer.transactions"


class BranchChanged(Event, frozen=True, kw_only=True, omit_defaults=True):
    """State of a branch. `branch_path` lists its ids from the top to itself."""

    TYPE: ClassVar[str] = "customer.branch_changed.v1"
    TOPIC: ClassVar[str] = TOPIC
    branch_id: str
    revision: int
    branch_path: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.branch_id


@masked
class ManagerChanged(Event, frozen=True, kw_only=True, omit_defaults=True):
    """State of a relationship manager or branch head; `email` is a work address."""

    TYPE: ClassVar[str] = "customer.manager_changed.v1"
    TOPIC: ClassVar[str] = TOPIC
    manager_id: str
    revision: int
    branch_id: str
    email: str
    is_branch_head: bool = False
    is_active: bool = True

    @property
    def key(self) -> str:
        return self.manager_id


class CustomerChanged(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """State of a customer: who looks after them. Every service's `customer_scope` is made of this.

    `restricted`: what is kept about them is kept for the law, and neither shown to the branch nor used.
    """

    TYPE: ClassVar[str] = "customer.customer_changed.v1"
    TOPIC: ClassVar[str] = TOPIC
    revision: int
    customer_number: str
    branch_id: str
    branch_path: tuple[str, ...]
    manager_id: str | None = None
    deputy_manager_id: str | None = None
    customer_since: date | None = None
    left_on: date | None = None
    restricted: bool = False


class CustomerExportRequested(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Every service tells what it has about the customer, sealed to `public_key`: X25519, of one use, in base64."""

    TYPE: ClassVar[str] = "customer.export_requested.v1"
    TOPIC: ClassVar[str] = TOPIC
    export_id: UUID
    public_key: str


class ExportPartPrepared(ExportPart, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "customer.export_part_prepared.v1"
    TOPIC: ClassVar[str] = TOPIC


class CustomerErased(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Every service destroys its key of the customer and deletes its rows about them, and keeps nothing later."""

    TYPE: ClassVar[str] = "customer.erased.v1"
    TOPIC: ClassVar[str] = TOPIC
    ABOUT_ERASED: ClassVar[bool] = True
    erasure_id: UUID
    erased_at: datetime


class CustomerPurged(Purge, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "customer.customer_purged.v1"
    TOPIC: ClassVar[str] = TOPIC


class PortfolioDelegated(Event, frozen=True, kw_only=True, omit_defaults=True):
    """State of a delegation: until `ends_at` the delegate sees the manager's customers too, or those that are named.

    Every service's `delegation` is made of this. It ends by itself; ended early it comes again with that instant.
    """

    TYPE: ClassVar[str] = "customer.portfolio_delegated.v1"
    TOPIC: ClassVar[str] = TOPIC
    delegation_id: UUID
    revision: int
    manager_id: str
    delegate_id: str
    starts_at: datetime
    ends_at: datetime
    delegated_by: str
    customer_ids: tuple[UUID, ...] = ()

    @property
    def key(self) -> str:
        return self.manager_id


class AccountChanged(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """State of an account, told about its primary holder."""

    TYPE: ClassVar[str] = "customer.account_changed.v1"
    TOPIC: ClassVar[str] = TOPIC
    account_id: UUID
    revision: int
    kind: AccountKind
    currency: str
    opened_on: date
    matures_on: date | None = None
    closed_on: date | None = None


class PostedTransaction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One booked transaction. `is_external` says that the other side is at another bank."""

    transaction_id: UUID
    account_id: UUID
    booked_on: date
    sequence: int
    amount_minor: int
    currency: str
    kind: TransactionKind
    balance_after_minor: int | None = None
    is_external: bool = False
    is_reversal: bool = False


class TransactionsPosted(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Transactions of one customer, in the order in which the core booked them within each account."""

    TYPE: ClassVar[str] = "customer.transactions_posted.v1"
    TOPIC: ClassVar[str] = TRANSACTIONS_TOPIC
    transactions: tuple[PostedTransaction, ...]


class DayClosed(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The bank closed a business day. One goes to every partition, behind that day's transactions."""

    TYPE: ClassVar[str] = "customer.day_closed.v1"
    TOPIC: ClassVar[str] = TRANSACTIONS_TOPIC
    business_date: date

    @property
    def key(self) -> str:
        return "business-day"


class DayReported(Event, frozen=True, kw_only=True, omit_defaults=True):
    """As DayClosed, behind what was reported of that day about customers and accounts. Goes to every partition."""

    TYPE: ClassVar[str] = "customer.day_reported.v1"
    TOPIC: ClassVar[str] = TOPIC
    business_date: date

    @property
    def key(self) -> str:
        return "business-day"


class ContactReported(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A conversation that another system of the bank recorded."""

    TYPE: ClassVar[str] = "customer.contact_reported.v1"
    TOPIC: ClassVar[str] = TOPIC
    contact_id: UUID
    channel: ContactChannel
    occurred_at: datetime
    manager_id: str | None = None
    by_customer: bool = False


class ComplaintReported(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "customer.complaint_reported.v1"
    TOPIC: ClassVar[str] = TOPIC
    complaint_id: UUID
    revision: int
    opened_at: datetime
    resolved_at: datetime | None = None
    outcome: ComplaintOutcome | None = None


class SurveyReported(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "customer.survey_reported.v1"
    TOPIC: ClassVar[str] = TOPIC
    survey_id: UUID
    answered_at: datetime
    score: int


class LifeEventReported(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "customer.life_event_reported.v1"
    TOPIC: ClassVar[str] = TOPIC
    life_event_id: UUID
    kind: LifeEventKind
    happened_on: date
