"""What is kept for later is sealed: dead letters, stored answers, and the core's events that are held or parked."""

from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from alembic import op

from shared.sealing.kept_migration import SHARED, KeptTable, open_kept_again, seal_kept

revision = "0014"
down_revision: str | None = "0013"
branch_labels: str | None = None
depends_on: str | None = None

_CUSTOMER = sa.text(
    "select customer_id from customer where source = :source and 'party:' || party_id = any(:names)"
    " and party_id = any(:ids)"
    " union all select customer_id from account where source = :source"
    " and 'account:' || core_account_id = any(:names) and core_account_id = any(:ids) limit 1"
)


def _customer_of(row: Any) -> UUID | None:
    """Whom the event names, right or wrong as it may be, if they are known."""
    names = _names_of(row)["names"]
    found: UUID | None = op.get_bind().scalar(
        _CUSTOMER, {"source": row.source, "names": names, "ids": [name.partition(":")[2] for name in names]}
    )
    return found


def _names_of(row: Any) -> dict[str, list[str]]:
    try:
        data = msgspec.json.decode(row.payload).get("data")
        related = data.get("parties") or []
        parties = [data.get("party_id"), *(each.get("party_id") for each in related)]
        pairs = [*(("party", party) for party in parties), ("account", data.get("account_id"))]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, AttributeError, TypeError):
        return {"names": []}
    names = [f"{kind}:{named}" for kind, named in pairs if isinstance(named, str) and "\x00" not in named]
    return {"names": [name for name in names if name.isprintable()][:20]}


KEPT_EVENT = KeptTable(
    "kept_event",
    ["source", "event_id", "fingerprint"],
    {"payload": "bytea"},
    lambda row: f"kept_event.sealed:{row.source}\0{row.event_id}\0{row.fingerprint}",
    "kept_at",
    whose=_customer_of,
    beside={"names": "text[]"},
    besides=_names_of,
    comments={
        "customer_id": "whose key seals it; null is the service's, until it expires",
        "names": "the parties and accounts in it, as kind:id",
        "sealed": "the event as it came, in structured JSON",
    },
)
KEPT_EVENT_EDIT = KeptTable(
    "kept_event_edit",
    ["id"],
    {"payload": "bytea"},
    lambda row: f"kept_event_edit.sealed:{row.id}",
    "edited_at",
    whose=_customer_of,
    beside={"names": "text[]"},
    besides=_names_of,
    comments={"customer_id": "as of kept_event", "names": "as of kept_event", "sealed": "the event as it was before"},
)
TABLES = (*SHARED, KEPT_EVENT, KEPT_EVENT_EDIT)


def upgrade() -> None:
    seal_kept("customer", TABLES)


def downgrade() -> None:
    open_kept_again("customer", TABLES)
