"""Portfolios that are delegated for a time, and policies that indexes answer."""

from alembic import op

from shared.migrations import create_delegation, drop_delegation, index_scope
from shared.scope import of_visible_customer
from shared.visibility import MAY_DELEGATE, OF_BRANCH_DELEGATION, of_customer

revision = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None

OF_A_CUSTOMER = ("customer", "account_party")
ITS_ACCOUNT = "select {what} from account a where a.account_id = reconciliation_finding.account_id"


def upgrade() -> None:
    index_scope()
    create_delegation(
        "customer",
        {
            **{table: of_customer(table) for table in OF_A_CUSTOMER},
            # A scalar subquery, as of_customer's: several parties of an account may be visible.
            "account": "(select true from account_party p where p.account_id = account.account_id limit 1)",
            "reconciliation_finding": f"({ITS_ACCOUNT.format(what='true')})",
        },
    )
    for statement in (
        f"create policy delegation_of_branch on delegation for select to customer_api using ({OF_BRANCH_DELEGATION})",
        f"create policy delegation_made on delegation for insert to customer_api with check ({MAY_DELEGATE})",
        f"create policy delegation_ended on delegation for update to customer_api using ({MAY_DELEGATE})",
        "grant insert, update (ends_at, revision) on delegation to customer_api",
    ):
        op.execute(statement)


def downgrade() -> None:
    drop_delegation(
        {
            **{table: of_visible_customer(table) for table in OF_A_CUSTOMER},
            "account": "exists (select 1 from account_party p where p.account_id = account.account_id)",
            "reconciliation_finding": f"exists ({ITS_ACCOUNT.format(what='1')})",
        }
    )
