"""Version 1 of the purges' table, for the services' migrations: once released it is not changed."""

from alembic import op

_STATEMENTS = (
    "set local lock_timeout = '5s'",
    """
    create table purge (
        customer_id uuid primary key,
        erasure_id uuid not null,
        begun_at timestamptz not null,
        rows jsonb not null,
        finished_at timestamptz
    )
    """,
    "comment on column purge.rows is 'deleted so far, by table'",
    "comment on column purge.finished_at is 'when no transaction was left that could write more'",
    "create index ix_purge_unfinished on purge (customer_id) where finished_at is null",
    # Nobody is erased yet: the index has no row.
    "create index ix_data_key_destroyed on data_key (customer_id) where destroyed_at is not null",
)


def create_purge() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def drop_purge() -> None:
    op.execute("drop index ix_data_key_destroyed")
    op.execute("drop table purge")
