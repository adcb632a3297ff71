"""The tables that every service has for its messages. Requests may only write the outbox."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

metadata = MetaData()


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:  # noqa: ARG002 - SQLAlchemy's
        return "xid8"


outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("partition", SmallInteger, comment="set for what goes to a partition and not to a key"),
    Column("payload", LargeBinary, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("traceparent", Text),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("written_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

consumer_offset = Table(
    "consumer_offset",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("cluster", Text, nullable=False, comment="which log the offset is of"),
    Column("topic_id", Text, comment="which of the topics of this name, one after the other"),
    Column("moved_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
)

delivered_event = Table(
    "delivered_event",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("delivered_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Index("ix_delivered_event_delivered_at", "delivered_at", postgresql_using="brin"),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("type", Text),
    Column("event_id", Text),
    Column("key", LargeBinary),
    Column("customer_id", Uuid, comment="whose key seals it; null is the service's, until it expires"),
    Column("sealed", LargeBinary, comment="the payload"),
    Column("headers", JSONB, nullable=False),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("parked_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("replays", Integer, nullable=False, server_default=text("0")),
    Column("replayed_at", DateTime(timezone=True), comment="when it was last replayed, in vain"),
    Column("edits", Integer, nullable=False, server_default=text("0")),
    Index("ix_dead_letter_parked_at", "parked_at", "id"),
    Index("ix_dead_letter_code", "code", "parked_at", "id"),
    Index("ix_dead_letter_type", "type", "parked_at", "id"),
    Index("ix_dead_letter_topic", "topic", "parked_at", "id"),
    Index("ix_dead_letter_customer_id", "customer_id", "parked_at"),
)

dead_letter_edit = Table(
    "dead_letter_edit",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("letter_id", Uuid, nullable=False, comment="of a dead letter, which is gone when it is delivered"),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("customer_id", Uuid, comment="as of dead_letter"),
    Column("sealed", LargeBinary, comment="the payload before the edit"),
    Column("headers", JSONB, nullable=False, comment="before the edit"),
    Column("edited_at", DateTime(timezone=True), nullable=False),
    Column("edited_by", Text, nullable=False),
    Index("ix_dead_letter_edit_letter_id", "letter_id", "edited_at"),
    Index("ix_dead_letter_edit_edited_at", "edited_at"),
    Index("ix_dead_letter_edit_customer_id", "customer_id", "edited_at"),
)
