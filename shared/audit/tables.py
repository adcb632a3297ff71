"""The audit's tables, in every service. Requests may add rows and read none; nobody may change or remove any."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY

metadata = MetaData()

audit_chain = Table(
    "audit_chain",
    metadata,
    Column("chain_id", Uuid, primary_key=True),
    Column("key_id", Text, nullable=False),
    Column("process", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

audit_record = Table(
    "audit_record",
    metadata,
    Column("chain_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("status", SmallInteger),
    Column("operation", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("branch_id", Text),
    Column("on_behalf_of", Text),
    Column("address", Text),
    Column("request_id", Text),
    Column("trace_id", Text),
    Column("customer_ids", ARRAY(Uuid), nullable=False),
    Column("customer_count", Integer, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    PrimaryKeyConstraint("chain_id", "sequence", "at", name="pk_audit_record"),
    Index("ix_audit_record_at", "at", "chain_id"),
    Index("ix_audit_record_actor", "actor", "at", "chain_id"),
    Index("ix_audit_record_customer_ids", "customer_ids", postgresql_using="gin"),
    postgresql_partition_by="range (at)",
)
