"""Who the bank's customers are, and who looks after them."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.customer.domain.personal import PersonalDetails
from services.customer.models.base import Base, CodePointText


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
