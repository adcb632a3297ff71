"""What a bank's systems push: the bank's own ids, any key, any order. Only the customer service reads these.

`revision` orders the states of one thing: the greatest one wins, whenever it arrives. Amounts are
signed minor units (a credit is positive). Days are the bank's business days.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from shared.events.base import Event
from shared.masking import masked

TOPIC = "corebanking.events"

BankId = Annotated[str, Meta(min_length=1, max_length=64, description="An id of the bank's own.")]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217.")]
Minor = Annotated[int, Meta(ge=-(2**53), le=2**53, description="Minor units of the currency.")]
Revision = Annotated[int, Meta(ge=0, le=2**53)]
Instant = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


class AccountKind(StrEnum):
    CURRENT = "current"
    SAVINGS = "savings"
    TERM_DEPOSIT = "term_deposit"
    CARD = "card"
    LOAN = "loan"


class PartyRelation(StrEnum):
    HOLDER = "holder"
    JOINT_HOLDER = "joint_holder"
    PROXY = "proxy"


class TransactionKind(StrEnum):
    SALARY = "salary"
    PENSION = "pension"
    TRANSFER_IN = "transfer_in"
    TRANSFER_OUT = "transfer_out"
    CASH_DEPOSIT = "cash_deposit"
    CASH_WITHDRAWAL = "cash_withdrawal"
    CARD_PAYMENT = "card_payment"
    CARD_WITHDRAWAL = "card_withdrawal"
    RENT = "rent"
    HOUSEHOLD = "household"
    INSURANCE = "insurance"
    LOAN_PAYMENT = "loan_payment"
    INTEREST = "interest"
    PENALTY_INTEREST = "penalty_interest"
    FEE = "fee"
    DEPOSIT_PLACED = "deposit_placed"
    DEPOSIT_MATURED = "deposit_matured"
    OTHER = "other"


class ContactChannel(StrEnum):
    CALL = "call"
    VISIT = "visit"
    MESSAGE = "message"
    EMAIL = "email"


class ComplaintOutcome(StrEnum):
    UPHELD = "upheld"
    REJECTED = "rejected"


class LifeEventKind(StrEnum):
    DEATH_IN_HOUSEHOLD = "death_in_household"
    MARRIAGE = "marriage"
    BIRTH = "birth"
    MOVE = "move"
    RETIREMENT = "retirement"
    JOB_CHANGE = "job_change"


class CoreBankingEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    TOPIC: ClassVar[str] = TOPIC


class BranchRecorded(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "corebanking.branch_recorded.v1"
    branch_id: BankId
    revision: Revision
    name: Name
    parent_branch_id: BankId | None = None
    city: Annotated[str, Meta(max_length=200)] | None = None

    @property
    def key(self) -> str:
        return self.branch_id


@masked
class ManagerRecorded(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A relationship manager or branch head: staff, with a work address."""

    TYPE: ClassVar[str] = "corebanking.manager_recorded.v1"
    manager_id: BankId
    revision: Revision
    branch_id: BankId
    name: Name
    email: Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)]
    is_branch_head: bool = False
    is_active: bool = True

    @property
    def key(self) -> str:
        return self.manager_id


@masked
class PartyRecorded(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A customer as the core knows them. Personal data: goes no further than the customer service."""

    TYPE: ClassVar[str] = "corebanking.party_recorded.v1"
    party_id: BankId
    revision: Revision
    customer_number: BankId
    branch_id: BankId
    name: Name | None = None
    birth_on: date | None = None
    phone: Annotated[str, Meta(max_length=40)] | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None
    address: Annotated[str, Meta(max_length=500)] | None = None
    document_number: Annotated[str, Meta(max_length=64, description="Of the identity document.")] | None = None
    household_id: BankId | None = None
    manager_id: BankId | None = None
    deputy_manager_id: BankId | None = None
    customer_since: date | None = None
    left_on: date | None = None

    @property
    def key(self) -> str:
        return self.party_id


class RelatedParty(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    party_id: BankId
    relation: PartyRelation


class AccountRecorded(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An account. Exactly one of its parties is its holder; its transactions count for that one."""

    TYPE: ClassVar[str] = "corebanking.account_recorded.v1"
    account_id: BankId
    revision: Revision
    kind: AccountKind
    currency: Currency
    branch_id: BankId | None = None
    parties: Annotated[tuple[RelatedParty, ...], Meta(min_length=1, max_length=50)]
    opened_on: date
    matures_on: date | None = None
    closed_on: date | None = None

    @property
    def key(self) -> str:
        return self.account_id


class TransactionPosted(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A booked transaction. (account_id, transaction_id) is its identity, for ever.

    `sequence` orders the transactions of one account and day. `counterparty_bank` is a code of
    another bank; absent, the money stayed here or had no other side.
    """

    TYPE: ClassVar[str] = "corebanking.transaction_posted.v1"
    account_id: BankId
    transaction_id: BankId
    booked_on: date
    sequence: Annotated[int, Meta(ge=0, le=2**53)] = 0
    amount_minor: Minor
    currency: Currency
    kind: TransactionKind
    balance_after_minor: Minor | None = None
    counterparty_bank: Annotated[str, Meta(max_length=20)] | None = None

    @property
    def key(self) -> str:
        return self.account_id


class TransactionReversed(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Takes back the whole of an earlier transaction, on a day of its own. It has an id of its own."""

    TYPE: ClassVar[str] = "corebanking.transaction_reversed.v1"
    account_id: BankId
    transaction_id: BankId
    reverses_transaction_id: BankId
    booked_on: date
    sequence: Annotated[int, Meta(ge=0, le=2**53)] = 0
    balance_after_minor: Minor | None = None

    @property
    def key(self) -> str:
        return self.account_id


class ContactRecorded(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    """A conversation with a customer, from the system that the bank used before."""

    TYPE: ClassVar[str] = "corebanking.contact_recorded.v1"
    contact_id: BankId
    party_id: BankId
    channel: ContactChannel
    occurred_at: Instant
    manager_id: BankId | None = None
    by_customer: bool = False

    @property
    def key(self) -> str:
        return self.party_id


class ComplaintRecorded(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "corebanking.complaint_recorded.v1"
    complaint_id: BankId
    revision: Revision
    party_id: BankId
    opened_at: Instant
    resolved_at: Instant | None = None
    outcome: ComplaintOutcome | None = None

    @property
    def key(self) -> str:
        return self.party_id


class SurveyAnswered(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Likelihood to recommend, 0 to 10 (the question of the Net Promoter Score, Reichheld 2003)."""

    TYPE: ClassVar[str] = "corebanking.survey_answered.v1"
    survey_id: BankId
    party_id: BankId
    answered_at: Instant
    score: Annotated[int, Meta(ge=0, le=10)]

    @property
    def key(self) -> str:
        return self.party_id


class LifeEventRecorded(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    TYPE: ClassVar[str] = "corebanking.life_event_recorded.v1"
    life_event_id: BankId
    party_id: BankId
    kind: LifeEventKind
    happened_on: date

    @property
    def key(self) -> str:
        return self.party_id


class BusinessDayClosed(CoreBankingEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The core's end of day: what it books from now on, it books on a later day, or late."""

    TYPE: ClassVar[str] = "corebanking.business_day_closed.v1"
    business_date: date

    @property
    def key(self) -> str:
        return "business-day"
