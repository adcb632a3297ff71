"""What has arrived while more events waited for it than one transaction applies."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "held_release",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("waits_for", sa.Text(), nullable=False, comment="as in kept_event"),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("source", "waits_for", name=op.f("pk_held_release")),
    )


def downgrade() -> None:
    op.drop_table("held_release")
