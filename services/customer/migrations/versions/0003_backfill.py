"""How far each file of a bank's history is loaded, and which of its rows could not be."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_table(
        "backfill",
        sa.Column("backfill_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False, comment="SHA-256 of its bytes"),
        sa.Column("reading", sa.Text(), nullable=False, comment="how it is read, as JSON"),
        sa.Column("position", sa.BigInteger(), server_default="0", nullable=False, comment="records that are read"),
        sa.Column("applied", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("duplicate", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("held", sa.BigInteger(), server_default="0", nullable=False, comment="when they were read"),
        sa.Column("parked", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("backfill_id", name=op.f("pk_backfill")),
    )
    op.create_index("ix_backfill_path", "backfill", ["path"])
    op.create_table(
        "backfill_fault",
        sa.Column("backfill_id", sa.Uuid(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("pointer", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["backfill_id"],
            ["backfill.backfill_id"],
            name=op.f("fk_backfill_fault_backfill_id_backfill"),
            ondelete="cascade",
        ),
        sa.PrimaryKeyConstraint("backfill_id", "line", name=op.f("pk_backfill_fault")),
    )


def downgrade() -> None:
    op.drop_table("backfill_fault")
    op.drop_index("ix_backfill_path", table_name="backfill")
    op.drop_table("backfill")
