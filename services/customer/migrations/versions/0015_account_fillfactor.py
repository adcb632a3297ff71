"""Pages of accounts leave room: a balance that moves is written on its page again, without new entries in the indexes.

It holds for pages that are filled from now on. The lock stops neither reading nor writing.
"""

from alembic import op

revision = "0015"
down_revision: str | None = "0014"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table account set (fillfactor = 60)")


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table account reset (fillfactor)")
