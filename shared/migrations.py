"""What the services' Alembic histories share: one environment, and the tables that every service has.

A function here is history like a migration: once released it is not changed; what comes after is a new one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alembic import command, context, op
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from shared import scope, visibility
from shared.audit import tables as audit
from shared.erasure import tables as erasure
from shared.keyring import MasterKeyring
from shared.messaging import tables as messaging
from shared.sealing import data_keys
from shared.sealing.master_keys import LocalMasterKeys, MasterKeys
from shared.web import idempotency

ROOT = Path(__file__).resolve().parent.parent


def run_environment(service_metadata: MetaData) -> None:
    """What a service's `migrations/env.py` does."""
    url = context.config.get_main_option("sqlalchemy.url")
    targets: Sequence[MetaData] = [service_metadata, *shared_metadata()]
    if context.is_offline_mode():
        context.configure(url=url, target_metadata=targets, literal_binds=True)
        with context.begin_transaction():
            context.run_migrations()
        return
    connection = context.config.attributes.get("connection")
    if connection is None:
        raise CommandError("run `branchline migrate`, which opens the connection")
    _run(connection, targets)


def _run(connection: Connection, targets: Sequence[MetaData]) -> None:
    ischema_names["xid8"] = messaging.Xid8  # a type that SQLAlchemy cannot read back by itself
    partitions = set(connection.scalars(text("select relname from pg_class where relispartition")))
    connection.commit()  # else Alembic finds a transaction that is not its own, and none of a migration's is

    def is_ours(_item: object, name: str | None, kind: str, is_reflected: bool, _match: object) -> bool:
        return not (is_reflected and kind == "table" and name in partitions)

    context.configure(
        connection=connection, target_metadata=targets, transaction_per_migration=True, include_object=is_ours
    )
    with context.begin_transaction():
        context.run_migrations()


def shared_metadata() -> list[MetaData]:
    return [
        messaging.metadata,
        idempotency.metadata,
        scope.metadata,
        audit.metadata,
        data_keys.metadata,
        erasure.metadata,
    ]


def alembic_config(service: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "services" / service / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


async def migrate(service: str, url: str, revision: str = "head", *, master_keys: MasterKeyring | None = None) -> None:
    """Brings a service's database to `revision`, up or down; `url` is the owner's.

    `master_keys` are for migrations that seal what was not, or open what was; an empty database needs none.
    """

    def run(connection: Connection) -> None:
        config = alembic_config(service)
        config.attributes["connection"] = connection
        config.attributes["master_keys"] = LocalMasterKeys(master_keys) if master_keys else None
        if revision == "head" or not revision.startswith(("-", "base")):
            command.upgrade(config, revision)
        else:
            command.downgrade(config, revision)

    await _with_connection(url, run)


def master_keys_of_migration() -> MasterKeys:
    """Raises CommandError when `migrate` was given none."""
    keys: MasterKeys | None = context.config.attributes.get("master_keys")
    if keys is None:
        raise CommandError("there are customers' names to seal or open: set BRANCHLINE_MASTER_KEYS or its _FILE")
    return keys


async def check(service: str, url: str) -> None:
    """Raises alembic's CommandError when the models have what no migration makes."""

    def run(connection: Connection) -> None:
        config = alembic_config(service)
        config.attributes["connection"] = connection
        command.check(config)

    await _with_connection(url, run)


async def _with_connection(url: str, run: Any) -> None:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


_SHARED_TABLES = """
create table outbox (
    id bigint generated always as identity primary key,
    event_id uuid not null,
    type text not null,
    topic text not null,
    key text not null,
    partition smallint,
    payload bytea not null,
    occurred_at timestamptz not null,
    traceparent text,
    xid xid8 not null default pg_current_xact_id(),
    written_at timestamptz not null default now()
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
comment on column outbox.partition is 'set for what goes to a partition and not to a key';

create table consumer_offset (
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    cluster text not null,
    topic_id text,
    moved_at timestamptz not null default now(),
    primary key (topic, partition)
);
comment on column consumer_offset.cluster is 'which log the offset is of';
comment on column consumer_offset.topic_id is 'which of the topics of this name, one after the other';

create table delivered_event (event_id uuid primary key, delivered_at timestamptz not null default now());
create index ix_delivered_event_delivered_at on delivered_event using brin (delivered_at);

create table dead_letter (
    id uuid primary key,
    topic text not null,
    partition integer not null,
    "offset" bigint not null,
    type text,
    event_id text,
    key bytea,
    payload bytea,
    headers jsonb not null,
    code text not null,
    detail text not null,
    parked_at timestamptz not null default now(),
    replays integer not null default 0,
    replayed_at timestamptz
);
comment on column dead_letter.replayed_at is 'when it was last replayed, in vain';
create index ix_dead_letter_parked_at on dead_letter (parked_at, id);
create index ix_dead_letter_code on dead_letter (code, parked_at, id);
create index ix_dead_letter_type on dead_letter (type, parked_at, id);

create table idempotency_key (
    key_hash bytea primary key,
    body_hash bytea not null,
    status smallint not null,
    headers jsonb not null,
    body bytea not null,
    created_at timestamptz not null
);
create index ix_idempotency_key_created_at on idempotency_key (created_at);

create table customer_scope (
    customer_id uuid primary key,
    customer_number text not null,
    branch_id text not null,
    branch_path text[] not null,
    manager_id text,
    deputy_manager_id text,
    revision bigint not null,
    left_on date
);
create index ix_customer_scope_branch_id on customer_scope (branch_id);
create index ix_customer_scope_manager_id on customer_scope (manager_id);
create index ix_customer_scope_deputy_manager_id on customer_scope (deputy_manager_id);
"""


def create_shared_tables(service: str) -> None:
    """Version 1 of the tables for messages, idempotency keys and scope, with the rights of both roles."""
    rights = (
        f"grant usage on schema public to {service}_api",
        f"grant insert on outbox to {service}_api",
        f"grant select, insert, update, delete on idempotency_key to {service}_api",
        f"grant select on customer_scope to {service}_api",
    )
    statements = [statement.strip() for statement in _SHARED_TABLES.split(";")]
    for statement in (*filter(None, statements), *rights, *scope.scope_policy(service)):
        op.execute(statement)


def drop_shared_tables() -> None:
    for table in ("customer_scope", "idempotency_key", "dead_letter", "delivered_event", "consumer_offset", "outbox"):
        op.drop_table(table)


_DEAD_LETTER_EDITS = """
set local lock_timeout = '5s';
alter table dead_letter add column if not exists edits integer not null default 0;
create table if not exists dead_letter_edit (
    id uuid primary key,
    letter_id uuid not null,
    topic text not null,
    partition integer not null,
    "offset" bigint not null,
    payload bytea,
    headers jsonb not null,
    edited_at timestamptz not null,
    edited_by text not null
);
comment on column dead_letter_edit.letter_id is 'of a dead letter, which is gone when it is delivered';
comment on column dead_letter_edit.payload is 'before the edit';
comment on column dead_letter_edit.headers is 'before the edit';
create index if not exists ix_dead_letter_edit_letter_id on dead_letter_edit (letter_id, edited_at);
create index if not exists ix_dead_letter_edit_edited_at on dead_letter_edit (edited_at);
"""


def add_dead_letter_edits() -> None:
    """What operators edit, and the index by topic. Requests have no grant, as for dead letters.

    Broken off in the index, it can be run again.
    """
    for statement in filter(None, map(str.strip, _DEAD_LETTER_EDITS.split(";"))):
        op.execute(statement)
    with op.get_context().autocommit_block():
        op.execute("drop index concurrently if exists ix_dead_letter_topic")
        op.execute("create index concurrently ix_dead_letter_topic on dead_letter (topic, parked_at, id)")


def remove_dead_letter_edits() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop index if exists ix_dead_letter_topic")
    op.execute("alter table dead_letter drop column edits")
    op.execute("drop table dead_letter_edit")


_DELEGATION = """
create table delegation (
    delegation_id uuid primary key,
    revision bigint not null,
    manager_id text not null,
    delegate_id text not null,
    customer_ids uuid[],
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    delegated_by text not null
);
comment on column delegation.manager_id is 'whose customers';
comment on column delegation.delegate_id is 'who sees them meanwhile';
comment on column delegation.customer_ids is 'which, or null for the whole portfolio';
create index ix_delegation_manager_id on delegation (manager_id);
create index ix_delegation_delegate_id on delegation (delegate_id);
alter table delegation enable row level security;
alter table delegation force row level security;
"""


def index_scope() -> None:
    """First in a migration of its own transactions: indexes a scope that may be big, while it is in use."""
    with op.get_context().autocommit_block():
        op.execute("drop index concurrently if exists ix_customer_scope_branch_path")
        op.execute("create index concurrently ix_customer_scope_branch_path on customer_scope using gin (branch_path)")


def change_policies(policies: Mapping[str, str]) -> None:
    """From now on requests see a table's rows under its condition. Locks each table for a moment."""
    op.execute("set local lock_timeout = '5s'")
    for table, condition in policies.items():
        op.execute(f"alter policy {table}_requests on {table} using ({condition}) with check ({condition})")


def create_delegation(service: str, policies: Mapping[str, str]) -> None:
    """Version 2 of scope: portfolios can be delegated for a time, and policies are answered by indexes.

    `policies` are the conditions of the service's own tables; `delegation` has one for reading.
    """
    statements = [statement.strip() for statement in _DELEGATION.split(";")]
    for statement in (
        *filter(None, statements),
        f"create policy delegation_owner on delegation to {service} using (true) with check (true)",
        f"create policy delegation_requests on delegation for select to {service}_api"
        f" using ({visibility.OWN_DELEGATION})",
        f"grant select on delegation to {service}_api",
    ):
        op.execute(statement)
    change_policies({"customer_scope": visibility.VISIBLE_CUSTOMER, **policies})


def restrict_scope() -> None:
    """Version 3 of scope: who is restricted is seen by head office only."""
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table customer_scope add column restricted boolean not null default false")
    op.execute("comment on column customer_scope.restricted is 'kept for the law: head office sees it, nobody uses it'")
    # Nobody is restricted yet: the index has no row, and what is read for it is one pass over the scope.
    op.execute("create index ix_customer_scope_restricted on customer_scope (customer_id) where restricted")
    change_policies({"customer_scope": visibility.VISIBLE_UNRESTRICTED_CUSTOMER})


def unrestrict_scope() -> None:
    change_policies({"customer_scope": visibility.VISIBLE_CUSTOMER})
    op.execute("alter table customer_scope drop column restricted")


def drop_delegation(policies: Mapping[str, str]) -> None:
    """Back to version 1 of scope; `policies` as they were."""
    change_policies({"customer_scope": scope.VISIBLE, **policies})
    op.drop_table("delegation")
    op.drop_index("ix_customer_scope_branch_path", table_name="customer_scope")
