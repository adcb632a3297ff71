"""What all services have about a customer, put together for them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from services.customer.models.base import Base


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
