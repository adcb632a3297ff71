"""Who was erased, and how that is known."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from services.customer.models.base import Base


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
