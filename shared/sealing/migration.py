"""Version 1 of the keys' tables, for the services' migrations: once released it is not changed."""

from alembic import op

_TABLES = (
    """
    create table data_key (
        customer_id uuid primary key,
        master_key_id text,
        wrapped bytea,
        made_at timestamptz not null default now(),
        destroyed_at timestamptz
    )
    """,
    "comment on column data_key.master_key_id is 'null once destroyed'",
    "comment on column data_key.wrapped is 'null once destroyed'",
    "comment on column data_key.destroyed_at is 'the customer was erased: there never is a key again'",
    "create index ix_data_key_master_key_id on data_key (master_key_id)",
    "create table service_key (name text primary key, master_key_id text not null, wrapped bytea not null)",
    "alter table data_key enable row level security",
    "alter table data_key force row level security",
)


def create_key_tables(service: str) -> None:
    """Requests find the keys of the customers that they may see, and make one for those that have none."""
    visible = "exists (select 1 from customer_scope s where s.customer_id = data_key.customer_id)"
    for statement in (
        *_TABLES,
        f"create policy data_key_owner on data_key to {service} using (true) with check (true)",
        f"create policy data_key_requests on data_key to {service}_api using ({visible}) with check ({visible})",
        f"grant select, insert on data_key to {service}_api",
        f"grant select on service_key to {service}_api",
    ):
        op.execute(statement)


def drop_key_tables() -> None:
    op.execute("drop table data_key, service_key")
