"""Tables of the customer service. Personal data lives in `customer`, sealed, and nowhere else in Branchline."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, PrimaryKeyConstraint, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import DateTime

from services.customer.domain.personal import PersonalDetails
from shared.database import service_metadata

CodePointText = Text(collation="C")
"""Text in code point order, in which a prefix is a range and an index finds it."""


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = {int: BigInteger, str: Text, datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's


class Branch(Base):
    __tablename__ = "branch"

    branch_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    fingerprint: Mapped[int]
    name: Mapped[str]
    parent_branch_id: Mapped[str | None]
    city: Mapped[str | None]
    branch_path: Mapped[list[str]] = mapped_column(ARRAY(Text))


class Manager(Base):
    __tablename__ = "manager"

    manager_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    fingerprint: Mapped[int]
    branch_id: Mapped[str] = mapped_column(ForeignKey("branch.branch_id"), index=True)
    name: Mapped[str]
    email: Mapped[str]
    is_branch_head: Mapped[bool]
    is_active: Mapped[bool]


class Customer(Base):
    """`revision` is the core's, `version` ours: it grows with every change and is the ETag."""

    __tablename__ = "customer"
    __table_args__ = (
        UniqueConstraint("source", "party_id"),
        Index("ix_customer_customer_number", "customer_number", "customer_id"),
    )

    customer_id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str]
    party_id: Mapped[str]
    revision: Mapped[int]
    fingerprint: Mapped[int]
    version: Mapped[int]
    customer_number: Mapped[str] = mapped_column(CodePointText)
    branch_id: Mapped[str] = mapped_column(ForeignKey("branch.branch_id"), index=True)
    manager_id: Mapped[str | None] = mapped_column(index=True)
    deputy_manager_id: Mapped[str | None]
    is_assigned_here: Mapped[bool] = mapped_column(
        comment="the core's managers no longer count", server_default="false"
    )
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary, comment="the personal details, under the customer's key")
    household_id: Mapped[str | None]
    customer_since: Mapped[date | None]
    left_on: Mapped[date | None]
    restricted_at: Mapped[datetime | None] = mapped_column(comment="from when on only head office sees the customer")
    restriction_reason: Mapped[str | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=text("now()"))

    personal = PersonalDetails()
    """What is sealed, once it is opened."""

    @property
    def name(self) -> str | None:
        return self.personal.name

    @property
    def birth_on(self) -> date | None:
        return self.personal.birth_on

    @property
    def phone(self) -> str | None:
        return self.personal.phone

    @property
    def email(self) -> str | None:
        return self.personal.email

    @property
    def address(self) -> str | None:
        return self.personal.address

    @property
    def document_number(self) -> str | None:
        return self.personal.document_number


class CustomerToken(Base):
    """What customers are found by, though it is sealed: see shared/sealing/blind_index.py."""

    __tablename__ = "customer_token"

    token: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    customer_id: Mapped[UUID] = mapped_column(
        ForeignKey("customer.customer_id", ondelete="cascade"), primary_key=True, index=True
    )


class Account(Base):
    """An account, with what the core stated last, by (day, sequence) and not by arrival, and what came after that.

    The balance is the one stated plus what is booked later; of an account whose core states none, all that is booked.
    """

    __tablename__ = "account"
    __table_args__ = (UniqueConstraint("source", "core_account_id"),)

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str]
    core_account_id: Mapped[str]
    revision: Mapped[int]
    fingerprint: Mapped[int]
    version: Mapped[int]
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customer.customer_id"), index=True, comment="primary holder")
    kind: Mapped[str]
    currency: Mapped[str]
    branch_id: Mapped[str | None]
    opened_on: Mapped[date]
    matures_on: Mapped[date | None]
    closed_on: Mapped[date | None]
    stated_minor: Mapped[int | None]
    stated_on: Mapped[date | None]
    stated_sequence: Mapped[int | None]
    posted_since_minor: Mapped[int] = mapped_column(
        comment="sum of the amounts after what was stated", server_default="0"
    )
    posted_minor: Mapped[int] = mapped_column(comment="sum of all amounts", server_default="0")
    latest_on: Mapped[date | None] = mapped_column(comment="day of the last transaction")
    latest_sequence: Mapped[int | None]
    transaction_count: Mapped[int] = mapped_column(server_default="0")
    reconciled_version: Mapped[int | None] = mapped_column(comment="the version when it was reconciled last")

    @property
    def balance_minor(self) -> int | None:
        """None before the first transaction."""
        if self.latest_on is None:
            return None
        return self.posted_minor if self.stated_minor is None else self.stated_minor + self.posted_since_minor


class AccountParty(Base):
    """Everybody with a relation to an account: holder, joint holders, proxies."""

    __tablename__ = "account_party"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.account_id", ondelete="cascade"), primary_key=True)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customer.customer_id"), primary_key=True, index=True)
    relation: Mapped[str] = mapped_column(primary_key=True)


class Posting(Base):
    """The ledger, hash-partitioned by account. Its primary key is the permanent guard against doubles."""

    __tablename__ = "posting"
    __table_args__ = (
        Index(
            "uq_posting_reverses",
            "account_id",
            "reverses_transaction_id",
            unique=True,
            postgresql_where=text("reverses_transaction_id is not null"),
        ),
        {"postgresql_partition_by": "hash (account_id)"},
    )

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    core_transaction_id: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[int] = mapped_column(comment="64 bits of the payload's hash")
    customer_id: Mapped[UUID] = mapped_column(comment="primary holder when it was posted")
    booked_on: Mapped[date]
    sequence: Mapped[int]
    amount_minor: Mapped[int]
    kind: Mapped[str]
    balance_after_minor: Mapped[int | None]
    is_external: Mapped[bool]
    reverses_transaction_id: Mapped[str | None]
    is_receipt: Mapped[bool] = mapped_column(
        comment="whether it is also the receipt of its event, whose id names the transaction", server_default="false"
    )
    posted_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ReportedFact(Base):
    """What other systems of the bank reported about a customer, by the bank's own id: each counts once."""

    __tablename__ = "reported_fact"
    __table_args__ = (PrimaryKeyConstraint("source", "core_id", "kind"),)

    source: Mapped[str]
    core_id: Mapped[str]
    kind: Mapped[str]
    customer_id: Mapped[UUID]
    revision: Mapped[int]
    fingerprint: Mapped[int]


class BusinessDay(Base):
    """The business days that the core closed."""

    __tablename__ = "business_day"

    source: Mapped[str] = mapped_column(primary_key=True)
    business_date: Mapped[date] = mapped_column(primary_key=True)
    closed_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ReconciliationFinding(Base):
    """The sum of an account's amounts and the balance that the core stated differ at the close of a day."""

    __tablename__ = "reconciliation_finding"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.account_id", ondelete="cascade"), primary_key=True)
    as_of: Mapped[date]
    stated_minor: Mapped[int]
    posted_minor: Mapped[int]
    found_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class ReceivedEvent(Base):
    """What became of each event of the core: `applied`, `held`, `parked` or `duplicate`.

    Of a transaction whose posting `is_receipt` there is no row here.
    """

    __tablename__ = "received_event"
    __table_args__ = (
        Index(
            "ix_received_event_unapplied",
            "outcome",
            "received_at",
            "event_id",
            postgresql_where=text("outcome <> 'applied'"),
        ),
    )

    source: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    fingerprint: Mapped[int]
    outcome: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class KeptEvent(Base):
    """The bytes of events that are held until what they name arrives, or parked until somebody mends them."""

    __tablename__ = "kept_event"
    __table_args__ = (
        Index("ix_kept_event_waits_for", "waits_for", "source", postgresql_where=text("waits_for is not null")),
        Index("ix_kept_event_code", "code", "kept_at", postgresql_where=text("waits_for is not null")),
        Index("ix_kept_event_parked", "kept_at", postgresql_where=text("waits_for is null")),
        Index("ix_kept_event_customer_id", "customer_id", "kept_at"),
    )

    source: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[int] = mapped_column(primary_key=True)
    waits_for: Mapped[str | None] = mapped_column(comment="what a held event names, as kind:id; null when parked")
    code: Mapped[str]
    pointer: Mapped[str | None]
    detail: Mapped[str]
    customer_id: Mapped[UUID | None] = mapped_column(
        comment="whose key seals it; null is the service's, until it expires"
    )
    names: Mapped[list[str]] = mapped_column(ARRAY(Text), comment="the parties and accounts in it, as kind:id")
    sealed: Mapped[bytes] = mapped_column(LargeBinary, comment="the event as it came, in structured JSON")
    kept_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class HeldRelease(Base):
    """What has arrived while more events waited for it than one transaction applies: they are applied after it."""

    __tablename__ = "held_release"

    source: Mapped[str] = mapped_column(primary_key=True)
    waits_for: Mapped[str] = mapped_column(primary_key=True, comment="as in kept_event")
    due_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Backfill(Base):
    """How far a file of the bank's history is loaded. One that holds or is read something else is another."""

    __tablename__ = "backfill"

    backfill_id: Mapped[UUID] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(index=True)
    content: Mapped[str] = mapped_column(comment="SHA-256 of its bytes")
    reading: Mapped[str] = mapped_column(comment="how it is read, as JSON")
    position: Mapped[int] = mapped_column(comment="records that are read", server_default="0")
    applied: Mapped[int] = mapped_column(server_default="0")
    duplicate: Mapped[int] = mapped_column(server_default="0")
    held: Mapped[int] = mapped_column(comment="when they were read", server_default="0")
    parked: Mapped[int] = mapped_column(server_default="0")
    begun_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    moved_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    finished_at: Mapped[datetime | None]


class BackfillFault(Base):
    """A row of a file that is parked: where it is and why. It holds nothing of the row."""

    __tablename__ = "backfill_fault"

    backfill_id: Mapped[UUID] = mapped_column(ForeignKey("backfill.backfill_id", ondelete="cascade"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    event_id: Mapped[str | None]
    code: Mapped[str]
    pointer: Mapped[str | None]
    detail: Mapped[str]


class CustomerExport(Base):
    """An export of what all services have about a customer, from when it is asked for until it expires."""

    __tablename__ = "customer_export"
    __table_args__ = (Index("ix_customer_export_expires_at", "expires_at"),)

    export_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID] = mapped_column(index=True)
    requested_at: Mapped[datetime]
    requested_by: Mapped[str] = mapped_column(comment="a member of staff")
    expires_at: Mapped[datetime]
    private_key: Mapped[bytes | None] = mapped_column(
        LargeBinary, comment="opens the parts; sealed under the customer's key, null once the archive is made"
    )
    archive: Mapped[bytes | None] = mapped_column(LargeBinary, comment="a ZIP, sealed under the customer's key")
    ready_at: Mapped[datetime | None]


class CustomerExportPart(Base):
    """A piece of a service's part, as it came, until the archive is made of all."""

    __tablename__ = "customer_export_part"

    export_id: Mapped[UUID] = mapped_column(
        ForeignKey("customer_export.export_id", ondelete="cascade"), primary_key=True
    )
    service: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    of: Mapped[int]
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class Erasure(Base):
    """An erasure and, once every service has told what it deleted, its certificate. Nothing in it is personal."""

    __tablename__ = "erasure"

    erasure_id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_id: Mapped[UUID] = mapped_column(unique=True)
    reason: Mapped[str]
    requested_at: Mapped[datetime]
    requested_by: Mapped[str] = mapped_column(comment="a member of staff")
    audit_reference: Mapped[str | None] = mapped_column(comment="the request's id in the audit")
    completed_at: Mapped[datetime | None]


class ErasurePart(Base):
    """What one service deleted."""

    __tablename__ = "erasure_part"

    erasure_id: Mapped[UUID] = mapped_column(ForeignKey("erasure.erasure_id"), primary_key=True)
    service: Mapped[str] = mapped_column(primary_key=True)
    purged_at: Mapped[datetime]
    rows: Mapped[dict[str, int]] = mapped_column(JSONB, comment="by table")


class ErasedIdentity(Base):
    """Whom and what the core may still tell of though it is erased: keyed hashes of its ids, for equality only."""

    __tablename__ = "erased_identity"

    token: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    erased_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class KeptEventEdit(Base):
    """What a kept event was before an operator mended it."""

    __tablename__ = "kept_event_edit"
    __table_args__ = (
        Index("ix_kept_event_edit_event_id", "source", "event_id", "edited_at"),
        Index("ix_kept_event_edit_customer_id", "customer_id", "edited_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    source: Mapped[str]
    event_id: Mapped[str]
    customer_id: Mapped[UUID | None] = mapped_column(comment="as of kept_event")
    names: Mapped[list[str]] = mapped_column(ARRAY(Text), comment="as of kept_event")
    sealed: Mapped[bytes] = mapped_column(LargeBinary, comment="the event as it was before")
    edited_at: Mapped[datetime]
    edited_by: Mapped[str]
