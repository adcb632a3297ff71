"""Daily aggregates, dated facts, scores and churn alerts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.migrations import create_shared_tables, drop_shared_tables
from shared.scope import of_visible_customer, scope_policy

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

READABLE = ("customer_score", "score_change", "churn_alert", "daily_aggregate", "account")


def upgrade() -> None:
    create_shared_tables("scoring")
    op.create_table(
        "account",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=True, comment="null until its state has come"),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("opened_on", sa.Date(), nullable=True),
        sa.Column("matures_on", sa.Date(), nullable=True),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("customer_id", "account_id", name=op.f("pk_account")),
    )
    op.create_index("ix_account_account_id", "account", ["account_id"], unique=False)
    op.create_table(
        "business_day",
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first_closed_on", sa.Date(), nullable=False),
        sa.Column("last_closed_on", sa.Date(), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("partition", name=op.f("pk_business_day")),
    )
    op.create_table(
        "day_mark",
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("first_closed_on", sa.Date(), nullable=False),
        sa.Column("last_closed_on", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("partition", "topic", name=op.f("pk_day_mark")),
    )
    op.create_table(
        "churn_alert",
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("raised_on", sa.Date(), nullable=False),
        sa.Column("points", sa.SmallInteger(), nullable=False),
        sa.Column("reasons", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("is_historic", sa.Boolean(), nullable=False),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closure", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.CheckConstraint("(closed_on is null) = (closure is null)", name=op.f("ck_churn_alert_closed_with_closure")),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_churn_alert")),
    )
    op.create_index("ix_churn_alert_points", "churn_alert", ["points", "alert_id"], unique=False)
    op.create_index("ix_churn_alert_raised_on", "churn_alert", ["raised_on", "alert_id"], unique=False)
    op.create_index("uq_churn_alert_customer_id_raised_on", "churn_alert", ["customer_id", "raised_on"], unique=True)
    op.create_index(
        "uq_churn_alert_open",
        "churn_alert",
        ["customer_id"],
        unique=True,
        postgresql_where=sa.text("closed_on is null"),
    )
    op.create_table(
        "customer_fact",
        sa.Column("fact_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("began_on", sa.Date(), nullable=False),
        sa.Column("ended_on", sa.Date(), nullable=True),
        sa.Column("value", sa.SmallInteger(), nullable=True, comment="a survey's score, or how a complaint ended"),
        sa.PrimaryKeyConstraint("fact_id", name=op.f("pk_customer_fact")),
    )
    op.create_index("ix_customer_fact_customer_id", "customer_fact", ["customer_id"], unique=False)
    op.create_table(
        "customer_score",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("points", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("band", sa.Text(), server_default="low", nullable=False),
        sa.Column("reasons", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("since", sa.Date(), nullable=True, comment="the day from which these reasons have held"),
        sa.Column("currency", sa.Text(), server_default="", nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "told_band", sa.Text(), server_default="low", nullable=False, comment="the band that was published last"
        ),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_customer_score")),
    )
    op.create_index("ix_customer_score_due_on", "customer_score", ["partition", "due_on"], unique=False)
    op.create_index("ix_customer_score_points", "customer_score", ["points", "customer_id"], unique=False)
    op.create_table(
        "daily_aggregate",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.Column("credit_minor", sa.BigInteger(), nullable=False),
        sa.Column("credit_count", sa.Integer(), nullable=False),
        sa.Column("debit_minor", sa.BigInteger(), nullable=False),
        sa.Column("debit_count", sa.Integer(), nullable=False),
        sa.Column("salary_minor", sa.BigInteger(), nullable=False),
        sa.Column("salary_count", sa.Integer(), nullable=False),
        sa.Column("card_minor", sa.BigInteger(), nullable=False),
        sa.Column("card_count", sa.Integer(), nullable=False),
        sa.Column("external_out_minor", sa.BigInteger(), nullable=False),
        sa.Column("external_out_count", sa.Integer(), nullable=False),
        sa.Column("initiated_count", sa.Integer(), nullable=False),
        sa.Column(
            "stated_sequence", sa.BigInteger(), nullable=False, comment="-1 when the core stated no balance on that day"
        ),
        sa.Column("stated_by", sa.Uuid(), nullable=False, comment="the event that brought the balance"),
        sa.Column("balance_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "account_id", "booked_on", name=op.f("pk_daily_aggregate")),
    )
    op.create_table(
        "retention_outcome",
        sa.Column("outcome_id", sa.Uuid(), nullable=False),
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_on", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("outcome_id", name=op.f("pk_retention_outcome")),
    )
    op.create_index("ix_retention_outcome_customer_id", "retention_outcome", ["customer_id"], unique=False)
    op.create_table(
        "score_change",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("scored_on", sa.Date(), nullable=False),
        sa.Column("points", sa.SmallInteger(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("reasons", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "scored_on", name=op.f("pk_score_change")),
    )
    # Facts and outcomes have no grant for requests. Which days the bank has closed is about no customer.
    op.execute("grant select on business_day to scoring_api")
    for table in READABLE:
        op.execute(f"grant select on {table} to scoring_api")
        for statement in scope_policy("scoring", table, of_visible_customer(table)):
            op.execute(statement)
    op.execute("alter table customer_score set (fillfactor = 80)")


def downgrade() -> None:
    op.drop_table("score_change")
    op.drop_index("ix_retention_outcome_customer_id", table_name="retention_outcome")
    op.drop_table("retention_outcome")
    op.drop_table("daily_aggregate")
    op.drop_index("ix_customer_score_points", table_name="customer_score")
    op.drop_index("ix_customer_score_due_on", table_name="customer_score")
    op.drop_table("customer_score")
    op.drop_index("ix_customer_fact_customer_id", table_name="customer_fact")
    op.drop_table("customer_fact")
    op.drop_index("uq_churn_alert_open", table_name="churn_alert", postgresql_where=sa.text("closed_on is null"))
    op.drop_index("uq_churn_alert_customer_id_raised_on", table_name="churn_alert")
    op.drop_index("ix_churn_alert_raised_on", table_name="churn_alert")
    op.drop_index("ix_churn_alert_points", table_name="churn_alert")
    op.drop_table("churn_alert")
    op.drop_table("day_mark")
    op.drop_table("business_day")
    op.drop_index("ix_account_account_id", table_name="account")
    op.drop_table("account")
    drop_shared_tables()
