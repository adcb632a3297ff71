"""An event's payload is kept in the outbox as it is, and not compressed: it leaves again in a moment.

PostgreSQL compresses what is over 2 kB, at more than twice the cost of writing it. What is there stays as it is.
"""

from alembic import op

revision = "0017"
down_revision: str | None = "0016"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table outbox alter column payload set storage external")


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table outbox alter column payload set storage extended")
