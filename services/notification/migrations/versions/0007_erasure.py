"""Customers can be erased: what was deleted about them is kept as numbers."""

from shared.erasure.migration import create_purge, drop_purge

revision = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    create_purge()


def downgrade() -> None:
    drop_purge()
