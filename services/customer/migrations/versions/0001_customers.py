"""Customers, accounts, the ledger, and what became of the core's events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.migrations import create_shared_tables, drop_shared_tables
from shared.scope import of_visible_customer, scope_policy

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

LEDGER_PARTITIONS = 8


def upgrade() -> None:
    create_shared_tables("customer")
    op.create_table(
        "branch",
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("parent_branch_id", sa.Text(), nullable=True),
        sa.Column("city", sa.Text(), nullable=True),
        sa.Column("branch_path", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("branch_id", name=op.f("pk_branch")),
    )
    op.create_table(
        "business_day",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("business_date", sa.Date(), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", "business_date", name=op.f("pk_business_day")),
    )
    op.create_table(
        "kept_event",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column(
            "waits_for", sa.Text(), nullable=True, comment="what a held event names, as kind:id; null when parked"
        ),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("pointer", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("kept_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", "event_id", "fingerprint", name=op.f("pk_kept_event")),
    )
    op.create_index(
        "ix_kept_event_waits_for",
        "kept_event",
        ["waits_for", "source"],
        unique=False,
        postgresql_where=sa.text("waits_for is not null"),
    )
    op.create_index(
        "ix_kept_event_code",
        "kept_event",
        ["code", "kept_at"],
        unique=False,
        postgresql_where=sa.text("waits_for is not null"),
    )
    op.create_table(
        "posting",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("core_transaction_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False, comment="64 bits of the payload's hash"),
        sa.Column("customer_id", sa.Uuid(), nullable=False, comment="primary holder when it was posted"),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("balance_after_minor", sa.BigInteger(), nullable=True),
        sa.Column("is_external", sa.Boolean(), nullable=False),
        sa.Column("reverses_transaction_id", sa.Text(), nullable=True),
        sa.Column("posted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "core_transaction_id", name=op.f("pk_posting")),
        postgresql_partition_by="hash (account_id)",
    )
    op.create_index(
        "uq_posting_reverses",
        "posting",
        ["account_id", "reverses_transaction_id"],
        unique=True,
        postgresql_where=sa.text("reverses_transaction_id is not null"),
    )
    op.create_table(
        "received_event",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", "event_id", name=op.f("pk_received_event")),
    )
    op.create_index(
        "ix_received_event_unapplied",
        "received_event",
        ["outcome", "received_at", "event_id"],
        unique=False,
        postgresql_where=sa.text("outcome <> 'applied'"),
    )
    op.create_table(
        "reported_fact",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("core_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "core_id", "kind", name=op.f("pk_reported_fact")),
    )
    op.create_table(
        "customer",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("party_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("customer_number", sa.Text(collation="C"), nullable=False),
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("manager_id", sa.Text(), nullable=True),
        sa.Column("deputy_manager_id", sa.Text(), nullable=True),
        sa.Column(
            "is_assigned_here",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="the core's managers no longer count",
        ),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column(
            "name_key",
            sa.Text(collation="C"),
            nullable=True,
            comment="the name as it is searched: case folded, one space",
        ),
        sa.Column("birth_on", sa.Date(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("phone_key", sa.Text(), nullable=True, comment="its digits, by which it is searched"),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("household_id", sa.Text(), nullable=True),
        sa.Column("customer_since", sa.Date(), nullable=True),
        sa.Column("left_on", sa.Date(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["branch_id"], ["branch.branch_id"], name=op.f("fk_customer_branch_id_branch")),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_customer")),
        sa.UniqueConstraint("source", "party_id", name=op.f("uq_customer_source_party_id")),
    )
    op.create_index(op.f("ix_customer_branch_id"), "customer", ["branch_id"], unique=False)
    op.create_index(
        "ix_customer_customer_number",
        "customer",
        ["customer_number", "customer_id"],
        unique=False,
    )
    op.create_index(op.f("ix_customer_manager_id"), "customer", ["manager_id"], unique=False)
    op.create_index("ix_customer_name_key", "customer", ["name_key", "customer_id"], unique=False)
    op.create_index(op.f("ix_customer_phone_key"), "customer", ["phone_key"], unique=False)
    op.create_table(
        "manager",
        sa.Column("manager_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("is_branch_head", sa.Boolean(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["branch_id"], ["branch.branch_id"], name=op.f("fk_manager_branch_id_branch")),
        sa.PrimaryKeyConstraint("manager_id", name=op.f("pk_manager")),
    )
    op.create_index(op.f("ix_manager_branch_id"), "manager", ["branch_id"], unique=False)
    op.create_table(
        "account",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("core_account_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False, comment="primary holder"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("branch_id", sa.Text(), nullable=True),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("matures_on", sa.Date(), nullable=True),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.Column("stated_minor", sa.BigInteger(), nullable=True),
        sa.Column("stated_on", sa.Date(), nullable=True),
        sa.Column("stated_sequence", sa.BigInteger(), nullable=True),
        sa.Column(
            "posted_since_minor",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="sum of the amounts after what was stated",
        ),
        sa.Column("posted_minor", sa.BigInteger(), server_default="0", nullable=False, comment="sum of all amounts"),
        sa.Column("latest_on", sa.Date(), nullable=True, comment="day of the last transaction"),
        sa.Column("latest_sequence", sa.BigInteger(), nullable=True),
        sa.Column("transaction_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "reconciled_version", sa.BigInteger(), nullable=True, comment="the version when it was reconciled last"
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.customer_id"], name=op.f("fk_account_customer_id_customer")
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account")),
        sa.UniqueConstraint("source", "core_account_id", name=op.f("uq_account_source_core_account_id")),
    )
    op.create_index(op.f("ix_account_customer_id"), "account", ["customer_id"], unique=False)
    op.create_table(
        "account_party",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.account_id"], name=op.f("fk_account_party_account_id_account"), ondelete="cascade"
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customer.customer_id"], name=op.f("fk_account_party_customer_id_customer")
        ),
        sa.PrimaryKeyConstraint("account_id", "customer_id", "relation", name=op.f("pk_account_party")),
    )
    op.create_index(op.f("ix_account_party_customer_id"), "account_party", ["customer_id"], unique=False)
    op.create_table(
        "reconciliation_finding",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("stated_minor", sa.BigInteger(), nullable=False),
        sa.Column("posted_minor", sa.BigInteger(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["account.account_id"],
            name=op.f("fk_reconciliation_finding_account_id_account"),
            ondelete="cascade",
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_reconciliation_finding")),
    )
    for remainder in range(LEDGER_PARTITIONS):
        op.execute(
            f"create table posting_{remainder} partition of posting"
            f" for values with (modulus {LEDGER_PARTITIONS}, remainder {remainder})"
        )
    # Requests get no grant on the ledger and on what became of events: they are read as the owner.
    # Branches and managers are about the bank, not about customers: every member of staff may read them.
    account_visible = "exists (select 1 from account_party p where p.account_id = account.account_id)"
    finding_visible = "exists (select 1 from account a where a.account_id = reconciliation_finding.account_id)"
    for statement in (
        "grant select on branch, manager, customer, account, account_party, reconciliation_finding to customer_api",
        "grant update (manager_id, deputy_manager_id, is_assigned_here, version, updated_at)"
        " on customer to customer_api",
        "grant insert, update on customer_scope to customer_api",
        *scope_policy("customer", "customer", of_visible_customer("customer")),
        *scope_policy("customer", "account_party", of_visible_customer("account_party")),
        *scope_policy("customer", "account", account_visible),
        *scope_policy("customer", "reconciliation_finding", finding_visible),
    ):
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("reconciliation_finding")
    op.execute("drop policy account_requests on account")
    op.drop_index(op.f("ix_account_party_customer_id"), table_name="account_party")
    op.drop_table("account_party")
    op.drop_index(op.f("ix_account_customer_id"), table_name="account")
    op.drop_table("account")
    op.drop_index(op.f("ix_manager_branch_id"), table_name="manager")
    op.drop_table("manager")
    op.drop_index(op.f("ix_customer_phone_key"), table_name="customer")
    op.drop_index("ix_customer_name_key", table_name="customer")
    op.drop_index(op.f("ix_customer_manager_id"), table_name="customer")
    op.drop_index("ix_customer_customer_number", table_name="customer")
    op.drop_index(op.f("ix_customer_branch_id"), table_name="customer")
    op.drop_table("customer")
    op.drop_table("reported_fact")
    op.drop_index(
        "ix_received_event_unapplied", table_name="received_event", postgresql_where=sa.text("outcome <> 'applied'")
    )
    op.drop_table("received_event")
    op.drop_index(
        "uq_posting_reverses", table_name="posting", postgresql_where=sa.text("reverses_transaction_id is not null")
    )
    op.drop_table("posting")
    op.drop_index("ix_kept_event_code", table_name="kept_event", postgresql_where=sa.text("waits_for is not null"))
    op.drop_index("ix_kept_event_waits_for", table_name="kept_event", postgresql_where=sa.text("waits_for is not null"))
    op.drop_table("kept_event")
    op.drop_table("business_day")
    op.drop_table("branch")
    drop_shared_tables()
