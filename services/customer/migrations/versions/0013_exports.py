"""What all services have about a customer can be exported as one archive."""

from alembic import op

from shared.visibility import of_customer

revision = "0013"
down_revision: str | None = "0012"
branch_labels: str | None = None
depends_on: str | None = None

_ITS_EXPORT = "(select true from customer_export e where e.export_id = customer_export_part.export_id)"
_TABLES = (
    """
    create table customer_export (
        export_id uuid constraint pk_customer_export primary key,
        customer_id uuid not null,
        requested_at timestamptz not null,
        requested_by text not null,
        expires_at timestamptz not null,
        private_key bytea,
        archive bytea,
        ready_at timestamptz
    )
    """,
    "comment on column customer_export.requested_by is 'a member of staff'",
    "comment on column customer_export.private_key is"
    " 'opens the parts; sealed under the customer''s key, null once the archive is made'",
    "comment on column customer_export.archive is 'a ZIP, sealed under the customer''s key'",
    "create index ix_customer_export_customer_id on customer_export (customer_id)",
    "create index ix_customer_export_expires_at on customer_export (expires_at)",
    """
    create table customer_export_part (
        export_id uuid not null constraint fk_customer_export_part_export_id_customer_export
            references customer_export on delete cascade,
        service text not null,
        number bigint not null,
        of bigint not null,
        sealed bytea not null,
        constraint pk_customer_export_part primary key (export_id, service, number)
    )
    """,
    "grant select, insert on customer_export to customer_api",
    "grant select (export_id, service, number, of) on customer_export_part to customer_api",
)


def upgrade() -> None:
    for statement in _TABLES:
        op.execute(statement)
    policies = {"customer_export": of_customer("customer_export"), "customer_export_part": _ITS_EXPORT}
    for table, visible in policies.items():
        for statement in (
            f"alter table {table} enable row level security",
            f"alter table {table} force row level security",
            f"create policy {table}_owner on {table} to customer using (true) with check (true)",
            f"create policy {table}_requests on {table} to customer_api using ({visible}) with check ({visible})",
        ):
            op.execute(statement)


def downgrade() -> None:
    op.execute("drop table customer_export_part, customer_export")
