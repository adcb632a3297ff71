"""Customers can be restricted: their record is kept, seen by head office only, and not used."""

from alembic import op

from shared.migrations import restrict_scope, unrestrict_scope

revision = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    restrict_scope()
    for statement in (
        "alter table customer add column restricted_at timestamptz, add column restriction_reason text",
        "comment on column customer.restricted_at is 'from when on only head office sees the customer'",
        "grant update (restricted_at, restriction_reason) on customer to customer_api",
    ):
        op.execute(statement)


def downgrade() -> None:
    op.execute("alter table customer drop column restricted_at, drop column restriction_reason")
    unrestrict_scope()
