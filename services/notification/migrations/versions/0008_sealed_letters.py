"""What is kept for later is sealed: dead letters and their edits, and stored answers."""

from shared.sealing.kept_migration import open_kept_again, seal_kept

revision = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    seal_kept("notification")


def downgrade() -> None:
    open_kept_again("notification")
