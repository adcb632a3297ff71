"""Members of staff can have alerts sent to an address of theirs; what is due is found by channel."""

from alembic import op

from shared.scope import scope_policy

revision = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

OWN = "staff_id = current_setting('branchline.staff_id', true)"


def _exchange_index(old: str, new: str, columns: str) -> None:
    """First in a migration: of deliveries that are under way, while they are."""
    with op.get_context().autocommit_block():
        op.execute(f"drop index concurrently if exists {new}")
        op.execute(f"create index concurrently {new} on delivery ({columns}) where state = 'pending'")
        op.execute(f"drop index concurrently if exists {old}")


def upgrade() -> None:
    _exchange_index("ix_delivery_due_at", "ix_delivery_channel_due_at", "channel, due_at, delivery_id")
    for statement in (
        """
        create table webhook (
            staff_id text constraint pk_webhook primary key,
            version bigint not null,
            sealed bytea,
            set_at timestamptz,
            switched_off_at timestamptz,
            code text
        )
        """,
        "comment on column webhook.version is 'its ETag'",
        "comment on column webhook.sealed is 'address and secret; null once removed'",
        "comment on column webhook.switched_off_at is 'the receiver wanted no more of them'",
        "comment on column webhook.code is 'why it was switched off'",
        *scope_policy("notification", "webhook", OWN),
        "grant select, insert, update on webhook to notification_api",
    ):
        op.execute(statement)


def downgrade() -> None:
    """What waits for a webhook goes: the version before would mail it."""
    _exchange_index("ix_delivery_channel_due_at", "ix_delivery_due_at", "due_at, delivery_id")
    op.execute("set local lock_timeout = '5s'")
    op.execute("delete from delivery where channel = 'webhook'")
    op.execute("drop table webhook")
