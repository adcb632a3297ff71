"""Version 2 of what is kept for later, for the services' migrations: once released it is not changed.

What was kept as it came is sealed in chunks while the service may go on, then the rest under a lock; only then do the
plain columns go. Broken off anywhere, it can be run again. Replicas of the version before must have ended.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from alembic import op

from shared.sealing.data_keys import FOR_NOBODY, NOBODY, DataKey
from shared.sealing.migration_keys import find_data_keys, find_service_key, make_data_keys, make_service_key

CHUNK = 500


@dataclass(frozen=True)
class KeptTable:
    """`key` are the columns of its primary key; `plain` are sealed, `field` says where, `whose` whom a row names.

    `beside` are columns that come beside what is sealed, with the values that `besides` gives them.
    """

    name: str
    key: Sequence[str]
    plain: dict[str, str]
    field: Callable[[Any], str]
    since: str
    whose: Callable[[Any], UUID | None] = lambda _: None
    required: bool = True
    write: Callable[[Any], bytes | None] = lambda row: row.payload
    read: Callable[[bytes], dict[str, Any]] = lambda content: {"payload": content}
    beside: dict[str, str] = dataclasses.field(default_factory=dict)
    besides: Callable[[Any], dict[str, Any]] = lambda _: {}
    comments: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def is_row(self) -> str:
        return " and ".join(f't."{column}" = :{column}' for column in self.key)


_SCOPE = sa.text("select customer_id from customer_scope where customer_id = :customer_id")
_LETTER = sa.text("select id, key from dead_letter where id = :letter_id")


def _customer_of_letter(row: Any) -> UUID | None:
    """Whose key the record has, if they are known."""
    try:
        customer_id = UUID(bytes(row.key).decode("ascii")) if row.key is not None else None
    except ValueError:
        return None
    found: UUID | None = op.get_bind().scalar(_SCOPE, {"customer_id": customer_id})
    return found


def _customer_of_edit(row: Any) -> UUID | None:
    letter = op.get_bind().execute(_LETTER, {"letter_id": row.letter_id}).one_or_none()
    return _customer_of_letter(letter) if letter is not None else None


def _answer(content: bytes) -> dict[str, Any]:
    answer = msgspec.msgpack.decode(content)
    return {"headers": msgspec.json.encode(answer["headers"]).decode(), "body": answer["body"]}


DEAD_LETTER = KeptTable(
    "dead_letter",
    ["id"],
    {"payload": "bytea"},
    lambda row: f"dead_letter.sealed:{row.id}",
    "parked_at",
    whose=_customer_of_letter,
    required=False,
    comments={"customer_id": "whose key seals it; null is the service's, until it expires", "sealed": "the payload"},
)
DEAD_LETTER_EDIT = KeptTable(
    "dead_letter_edit",
    ["id"],
    {"payload": "bytea"},
    lambda row: f"dead_letter_edit.sealed:{row.id}",
    "edited_at",
    whose=_customer_of_edit,
    required=False,
    comments={"customer_id": "as of dead_letter", "sealed": "the payload before the edit"},
)
IDEMPOTENCY_KEY = KeptTable(
    "idempotency_key",
    ["key_hash"],
    {"headers": "jsonb", "body": "bytea"},
    lambda row: f"idempotency_key.sealed:{bytes(row.key_hash).hex()}",
    "",
    write=lambda row: msgspec.msgpack.encode({"headers": row.headers, "body": bytes(row.body)}),
    read=_answer,
    comments={
        "customer_id": "whose key seals it; null is the service's",
        "sealed": "headers and body of the answer",
    },
)


SHARED = (DEAD_LETTER, DEAD_LETTER_EDIT, IDEMPOTENCY_KEY)


def seal_kept(service: str, tables: Sequence[KeptTable] = SHARED) -> None:
    """First in a migration of its own."""
    op.execute("set local lock_timeout = '5s'")
    for table in tables:
        op.execute(f"alter table {table.name} add column if not exists customer_id uuid")
        for column, kind in {**table.beside, "sealed": "bytea"}.items():
            op.execute(f"alter table {table.name} add column if not exists {column} {kind}")
        for column, comment in table.comments.items():
            op.execute(f"comment on column {table.name}.{column} is '{comment.replace(chr(39), chr(39) * 2)}'")
    op.execute(f"grant insert on service_key to {service}_api")
    with op.get_context().autocommit_block():
        for table in tables:
            while _seal_some(table):
                pass
            columns = f"customer_id, {table.since}" if table.since else "customer_id"
            op.execute(f"drop index concurrently if exists ix_{table.name}_customer_id")
            op.execute(f"create index concurrently ix_{table.name}_customer_id on {table.name} ({columns})")
    op.execute("set local lock_timeout = '5s'")
    for table in tables:
        op.execute(f"lock table {table.name} in access exclusive mode")
        while _seal_some(table):
            pass
        if table.required:
            for column in ("sealed", *table.beside):
                op.execute(f"alter table {table.name} alter column {column} set not null")
        for column in table.plain:
            op.execute(f"alter table {table.name} drop column {column}")


def _seal_some(table: KeptTable) -> int:
    connection = op.get_bind()
    some = " or ".join(f"t.{column} is not null" for column in table.plain)
    rows = connection.execute(
        sa.text(
            f"select t.* from {table.name} t"  # noqa: S608 - no value is in it
            f" where t.sealed is null and ({some}) limit {CHUNK}"
        )
    ).all()
    if not rows:
        return 0
    whose = [table.whose(row) for row in rows]
    keys = make_data_keys(connection, sorted({customer_id for customer_id in whose if customer_id is not None}))
    nobodys = DataKey(NOBODY, make_service_key(connection, FOR_NOBODY))
    sets = ", ".join(["sealed = :new", "customer_id = :whose", *(f"{column} = :{column}" for column in table.beside)])
    for row, customer_id in zip(rows, whose, strict=True):
        key = keys.get(customer_id, nobodys) if customer_id is not None else nobodys
        content = table.write(row)
        assert content is not None, "what is selected has something to seal"
        connection.execute(
            sa.text(f"update {table.name} t set {sets} where {table.is_row}"),  # noqa: S608 - no value is in it
            {
                **{column: getattr(row, column) for column in table.key},
                **table.besides(row),
                "new": key.seal(bytes(content), table.field(row)),
                "whose": key.customer_id if key is not nobodys else None,
            },
        )
    return len(rows)


def open_kept_again(service: str, tables: Sequence[KeptTable] = SHARED) -> None:
    """Back: what is gone with its customer's key is no row any more, where a row must hold something."""
    op.execute("set local lock_timeout = '5s'")
    for table in tables:
        op.execute(f"lock table {table.name} in access exclusive mode")
        for column, kind in table.plain.items():
            op.execute(f"alter table {table.name} add column {column} {kind}")
        for row, content in _opened(table):
            values = {column: getattr(row, column) for column in table.key}
            if content is None:
                if table.required:
                    op.get_bind().execute(sa.text(f"delete from {table.name} t where {table.is_row}"), values)  # noqa: S608 - no value is in it
                continue
            read = table.read(content)
            sets = ", ".join(f"{column} = cast(:new_{column} as {kind})" for column, kind in table.plain.items())
            op.get_bind().execute(
                sa.text(f"update {table.name} t set {sets} where {table.is_row}"),  # noqa: S608 - no value is in it
                {**values, **{f"new_{column}": value for column, value in read.items()}},
            )
        op.execute(f"drop index ix_{table.name}_customer_id")
        op.execute(f"alter table {table.name} drop column sealed, drop column customer_id")
        for column in table.beside:
            op.execute(f"alter table {table.name} drop column {column}")
        if table.required:
            for column in table.plain:
                op.execute(f"alter table {table.name} alter column {column} set not null")
    op.execute(f"revoke insert on service_key from {service}_api")


def _opened(table: KeptTable) -> Iterator[tuple[Any, bytes | None]]:
    connection = op.get_bind()
    rows = connection.execute(
        sa.text(f"select t.* from {table.name} t where t.sealed is not null")  # noqa: S608 - no value is in it
    ).all()
    if not rows:
        return
    keys = find_data_keys(connection, sorted({row.customer_id for row in rows if row.customer_id is not None}))
    raw = find_service_key(connection, FOR_NOBODY)
    nobodys = DataKey(NOBODY, raw) if raw is not None else None
    for row in rows:
        key = keys.get(row.customer_id) if row.customer_id is not None else nobodys
        yield row, key.open(row.sealed, table.field(row)) if key is not None else None
