"""Customers can be restricted: their record is kept, seen by head office only, and not used."""

from shared.migrations import restrict_scope, unrestrict_scope

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    restrict_scope()


def downgrade() -> None:
    unrestrict_scope()
