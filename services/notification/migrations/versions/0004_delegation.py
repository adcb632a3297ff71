"""Portfolios that are delegated for a time, and policies that indexes answer."""

from shared.migrations import create_delegation, drop_delegation, index_scope
from shared.scope import of_visible_customer
from shared.visibility import of_customer

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

OWN = "staff_id = current_setting('branchline.staff_id', true)"


def upgrade() -> None:
    index_scope()
    policies = {table: of_customer(table) for table in ("alert", "delivery")}
    create_delegation("notification", {**policies, "inbox_item": f"{OWN} and {of_customer('inbox_item')}"})


def downgrade() -> None:
    policies = {table: of_visible_customer(table) for table in ("alert", "delivery")}
    drop_delegation({**policies, "inbox_item": f"{OWN} and {of_visible_customer('inbox_item')}"})
