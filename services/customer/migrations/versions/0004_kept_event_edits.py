"""What operators mend of the core's events is kept as it was; those that are parked are listed by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "kept_event_edit",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("edited_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("edited_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_event_edit")),
        if_not_exists=True,
    )
    op.create_index(
        "ix_kept_event_edit_event_id", "kept_event_edit", ["source", "event_id", "edited_at"], if_not_exists=True
    )
    with op.get_context().autocommit_block():
        op.execute("drop index concurrently if exists ix_kept_event_parked")
        op.execute("create index concurrently ix_kept_event_parked on kept_event (kept_at) where waits_for is null")


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("drop index if exists ix_kept_event_parked")
    op.drop_table("kept_event_edit")
