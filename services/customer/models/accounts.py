"""Accounts, what is booked on them, and the days that the core closed."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from services.customer.models.base import Base


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
