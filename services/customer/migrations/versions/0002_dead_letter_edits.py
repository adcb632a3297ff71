"""What operators edit of dead letters is kept as it was."""

from shared.migrations import add_dead_letter_edits, remove_dead_letter_edits

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    add_dead_letter_edits()


def downgrade() -> None:
    remove_dead_letter_edits()
