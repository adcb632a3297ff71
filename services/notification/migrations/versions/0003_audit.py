"""The audit: who read or changed whose record."""

from shared.audit.migration import create_audit_tables, drop_audit_tables

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    create_audit_tables("notification")


def downgrade() -> None:
    drop_audit_tables()
