"""A posting may be the receipt of its event, where the event's id says no more than which transaction it posts.

The column is added without writing the ledger anew; what is there keeps its receipts.
"""

from alembic import op

revision = "0016"
down_revision: str | None = "0015"
branch_labels: str | None = None
depends_on: str | None = None

_COMMENT = "whether it is also the receipt of its event, whose id names the transaction"


def upgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("alter table posting add column is_receipt boolean not null default false")
    op.execute(f"comment on column posting.is_receipt is '{_COMMENT}'")


def downgrade() -> None:
    op.execute("set local lock_timeout = '5s'")
    op.execute("lock table posting in share mode")
    op.execute(
        "insert into received_event (source, event_id, type, fingerprint, outcome, received_at)"
        " select a.source, 'corebanking.transaction_posted.v1:' || a.core_account_id || '/' || p.core_transaction_id,"
        "  'corebanking.transaction_posted.v1', p.fingerprint, 'applied', p.posted_at"
        " from posting p join account a on a.account_id = p.account_id where p.is_receipt"
        " on conflict do nothing"
    )
    op.execute("alter table posting drop column is_receipt")
