"""Contacts, complaints, surveys, alerts and their outcomes, and the timeline that tells of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.migrations import create_shared_tables, drop_shared_tables
from shared.scope import of_visible_customer, scope_policy

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

OF_A_CUSTOMER = (
    *("account", "alert", "complaint", "contact", "coverage"),
    *("retention_outcome", "survey", "timeline_entry"),
)


def upgrade() -> None:
    create_shared_tables("interaction")
    op.create_table(
        "account",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_account")),
    )
    op.create_table(
        "alert",
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("raised_on", sa.Date(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alert")),
    )
    op.create_table(
        "complaint",
        sa.Column("complaint_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("complaint_id", name=op.f("pk_complaint")),
    )
    op.create_index("ix_complaint_customer_id", "complaint", ["customer_id", "opened_at", "complaint_id"], unique=False)
    op.create_table(
        "contact",
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("manager_id", sa.Text(), nullable=True),
        sa.Column("alert_id", sa.Uuid(), nullable=True),
        sa.Column("by_customer", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("contact_id", name=op.f("pk_contact")),
    )
    op.create_table(
        "coverage",
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("last_contacted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "waiting_since",
            sa.DateTime(timezone=True),
            sa.Computed("coalesce(last_contacted_at, '1900-01-01 00:00:00+00'::timestamptz)", persisted=True),
            nullable=False,
            comment="to sort by: who was never contacted comes first",
        ),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_coverage")),
    )
    op.create_index("ix_coverage_waiting_since", "coverage", ["waiting_since", "customer_id"], unique=False)
    op.create_table(
        "survey",
        sa.Column("survey_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("score", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("survey_id", name=op.f("pk_survey")),
    )
    op.create_table(
        "timeline_entry",
        sa.Column("entry_id", sa.Uuid(), nullable=False, comment="derived from what it tells of"),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=True, comment="of what its kind names"),
        sa.Column("alert_id", sa.Uuid(), nullable=True),
        sa.Column(
            "facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="what its sentence is made of"
        ),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "occurred_at >= '1900-01-01 00:00:00+00' and occurred_at < '9999-12-31 00:00:00+00'",
            name=op.f("ck_timeline_entry_occurred_at_is_readable"),
        ),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_timeline_entry")),
    )
    op.create_index(
        "ix_timeline_entry_customer_id", "timeline_entry", ["customer_id", "occurred_at", "entry_id"], unique=False
    )
    op.create_table(
        "retention_outcome",
        sa.Column("outcome_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.alert_id"], name=op.f("fk_retention_outcome_alert_id_alert")),
        sa.PrimaryKeyConstraint("outcome_id", name=op.f("pk_retention_outcome")),
        sa.UniqueConstraint("alert_id", name=op.f("uq_retention_outcome_alert_id")),
    )
    # Requests get no grant on accounts and surveys: the timeline tells of them.
    for statement in (
        "grant select on alert, complaint, coverage, contact, retention_outcome, timeline_entry to interaction_api",
        "grant insert on contact, coverage, retention_outcome, timeline_entry to interaction_api",
        "grant update (last_contacted_at) on coverage to interaction_api",
    ):
        op.execute(statement)
    for table in OF_A_CUSTOMER:
        for statement in scope_policy("interaction", table, of_visible_customer(table)):
            op.execute(statement)


def downgrade() -> None:
    op.drop_table("retention_outcome")
    op.drop_index("ix_timeline_entry_customer_id", table_name="timeline_entry")
    op.drop_table("timeline_entry")
    op.drop_table("survey")
    op.drop_index("ix_coverage_waiting_since", table_name="coverage")
    op.drop_table("coverage")
    op.drop_table("contact")
    op.drop_index("ix_complaint_customer_id", table_name="complaint")
    op.drop_table("complaint")
    op.drop_table("alert")
    op.drop_table("account")
    drop_shared_tables()
