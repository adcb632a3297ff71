"""What a service has deleted about whom: ids, numbers and instants, and no value of anybody."""

from sqlalchemy import Column, DateTime, Index, MetaData, Table, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

purge = Table(
    "purge",
    metadata,
    Column("customer_id", Uuid, primary_key=True),
    Column("erasure_id", Uuid, nullable=False),
    Column("begun_at", DateTime(timezone=True), nullable=False),
    Column("rows", JSONB, nullable=False, comment="deleted so far, by table"),
    Column("finished_at", DateTime(timezone=True), comment="when no transaction was left that could write more"),
    Index("ix_purge_unfinished", "customer_id", postgresql_where=text("finished_at is null")),
)
