"""Portfolios that are delegated for a time, and policies that indexes answer."""

from shared.migrations import create_delegation, drop_delegation, index_scope
from shared.scope import of_visible_customer
from shared.visibility import of_customer

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

OF_A_CUSTOMER = ("customer_score", "score_change", "churn_alert", "daily_aggregate", "account")


def upgrade() -> None:
    index_scope()
    create_delegation("scoring", {table: of_customer(table) for table in OF_A_CUSTOMER})


def downgrade() -> None:
    drop_delegation({table: of_visible_customer(table) for table in OF_A_CUSTOMER})
