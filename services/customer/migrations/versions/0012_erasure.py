"""Customers can be erased: what was deleted is kept as numbers, and what the core still tells of them is known."""

from alembic import op

from shared.erasure.migration import create_purge, drop_purge

revision = "0012"
down_revision: str | None = "0011"
branch_labels: str | None = None
depends_on: str | None = None

HEAD_OFFICE = "current_setting('branchline.role', true) = 'head_office'"

_TABLES = (
    """
    create table erasure (
        erasure_id uuid constraint pk_erasure primary key,
        customer_id uuid not null constraint uq_erasure_customer_id unique,
        reason text not null,
        requested_at timestamptz not null,
        requested_by text not null,
        audit_reference text,
        completed_at timestamptz
    )
    """,
    "comment on column erasure.requested_by is 'a member of staff'",
    "comment on column erasure.audit_reference is 'the request''s id in the audit'",
    """
    create table erasure_part (
        erasure_id uuid not null constraint fk_erasure_part_erasure_id_erasure references erasure,
        service text not null,
        purged_at timestamptz not null,
        rows jsonb not null,
        constraint pk_erasure_part primary key (erasure_id, service)
    )
    """,
    "comment on column erasure_part.rows is 'by table'",
    """
    create table erased_identity (
        token bytea constraint pk_erased_identity primary key,
        erased_at timestamptz not null default now()
    )
    """,
    "grant select, insert on erasure to customer_api",
    "grant select on erasure_part to customer_api",
)


def upgrade() -> None:
    create_purge()
    for statement in _TABLES:
        op.execute(statement)
    for table in ("erasure", "erasure_part"):
        for statement in (
            f"alter table {table} enable row level security",
            f"alter table {table} force row level security",
            f"create policy {table}_owner on {table} to customer using (true) with check (true)",
            f"create policy {table}_requests on {table} to customer_api"
            f" using ({HEAD_OFFICE}) with check ({HEAD_OFFICE})",
        ):
            op.execute(statement)


def downgrade() -> None:
    op.execute("drop table erased_identity, erasure_part, erasure")
    drop_purge()
