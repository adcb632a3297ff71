"""Where customers' personal details are sealed, and the tokens that they are found by."""

import sqlalchemy as sa
from alembic import op

from shared.visibility import of_customer

revision = "0010"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None

VISIBLE = of_customer("customer_token")


def upgrade() -> None:
    op.add_column(
        "customer",
        sa.Column("sealed", sa.LargeBinary(), nullable=True, comment="the personal details, under the customer's key"),
    )
    op.create_table(
        "customer_token",
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"],
            ["customer.customer_id"],
            name=op.f("fk_customer_token_customer_id_customer"),
            ondelete="cascade",
        ),
        sa.PrimaryKeyConstraint("token", "customer_id", name=op.f("pk_customer_token")),
    )
    op.create_index(op.f("ix_customer_token_customer_id"), "customer_token", ["customer_id"])
    for statement in (
        "alter table customer_token enable row level security",
        "alter table customer_token force row level security",
        "create policy customer_token_owner on customer_token to customer using (true) with check (true)",
        f"create policy customer_token_requests on customer_token to customer_api using ({VISIBLE})",
        "grant select on customer_token to customer_api",
    ):
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("customer_token")
    op.drop_column("customer", "sealed")
