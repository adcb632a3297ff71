"""A key per customer."""

from shared.sealing.migration import create_key_tables, drop_key_tables

revision = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    create_key_tables("notification")


def downgrade() -> None:
    drop_key_tables()
