"""Recipients, alerts, inboxes and deliveries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from shared.migrations import create_shared_tables, drop_shared_tables
from shared.scope import of_visible_customer, scope_policy

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

OWN = "staff_id = current_setting('branchline.staff_id', true)"


def upgrade() -> None:
    create_shared_tables("notification")
    op.create_table(
        "alert",
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("raised_on", sa.Date(), nullable=True, comment="null while only its end is known"),
        sa.Column("points", sa.BigInteger(), nullable=True),
        sa.Column("reasons", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alert")),
    )
    op.create_index(
        "ix_alert_open_customer_id",
        "alert",
        ["customer_id"],
        unique=False,
        postgresql_where=sa.text("state in ('unresolved', 'delivered')"),
    )
    op.create_table(
        "inbox",
        sa.Column("staff_id", sa.Text(), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("staff_id", name=op.f("pk_inbox")),
    )
    op.create_table(
        "recipient",
        sa.Column("staff_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("branch_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False, comment="a work address"),
        sa.Column("is_branch_head", sa.Boolean(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("staff_id", name=op.f("pk_recipient")),
    )
    op.create_index(
        "ix_recipient_branch_id",
        "recipient",
        ["branch_id"],
        unique=False,
        postgresql_where=sa.text("is_branch_head and is_active"),
    )
    op.create_table(
        "delivery",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column(
            "due_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when it is tried next; while it is tried, the end of the lease",
        ),
        sa.Column("code", sa.Text(), nullable=True, comment="why the last attempt, or all of it, came to nothing"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.alert_id"], name=op.f("fk_delivery_alert_id_alert")),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("alert_id", "staff_id", "channel", name=op.f("uq_delivery_alert_id_staff_id_channel")),
    )
    op.create_index(
        "ix_delivery_due_at",
        "delivery",
        ["due_at", "delivery_id"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "inbox_item",
        sa.Column("item_id", sa.Uuid(), nullable=False),
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("snoozed_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["alert_id"], ["alert.alert_id"], name=op.f("fk_inbox_item_alert_id_alert")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_inbox_item")),
        sa.UniqueConstraint("alert_id", "staff_id", name=op.f("uq_inbox_item_alert_id_staff_id")),
        sa.UniqueConstraint("staff_id", "sequence", name=op.f("uq_inbox_item_staff_id_sequence")),
    )
    op.create_index(
        "ix_inbox_item_snoozed_until",
        "inbox_item",
        ["snoozed_until"],
        unique=False,
        postgresql_where=sa.text("state = 'snoozed'"),
    )
    op.create_index(
        "ix_inbox_item_staff_id_created_at_item_id", "inbox_item", ["staff_id", "created_at", "item_id"], unique=False
    )
    # An item is its recipient's alone, and only while they look after the customer: who has handed a customer over
    # reads no more of them, and the alert itself has followed the customer into another inbox. Alerts and where
    # they went are seen with the customer. Requests get no grant on recipients, who are others' addresses.
    for statement in (
        "grant select on alert, inbox, inbox_item, delivery to notification_api",
        "grant insert, update on inbox to notification_api",
        "grant update (state, sequence, acknowledged_at, snoozed_until) on inbox_item to notification_api",
        *scope_policy("notification", "alert", of_visible_customer("alert")),
        *scope_policy("notification", "delivery", of_visible_customer("delivery")),
        *scope_policy("notification", "inbox", OWN),
        *scope_policy("notification", "inbox_item", f"{OWN} and {of_visible_customer('inbox_item')}"),
    ):
        op.execute(statement)


def downgrade() -> None:
    op.drop_index("ix_inbox_item_staff_id_created_at_item_id", table_name="inbox_item")
    op.drop_index("ix_inbox_item_snoozed_until", table_name="inbox_item", postgresql_where=sa.text("state = 'snoozed'"))
    op.drop_table("inbox_item")
    op.drop_index("ix_delivery_due_at", table_name="delivery", postgresql_where=sa.text("state = 'pending'"))
    op.drop_table("delivery")
    op.drop_index(
        "ix_recipient_branch_id", table_name="recipient", postgresql_where=sa.text("is_branch_head and is_active")
    )
    op.drop_table("recipient")
    op.drop_table("inbox")
    op.drop_index(
        "ix_alert_open_customer_id",
        table_name="alert",
        postgresql_where=sa.text("state in ('unresolved', 'delivered')"),
    )
    op.drop_table("alert")
    drop_shared_tables()
