"""What becomes of each table when a customer is erased. A service lists all of its tables; a test holds it to that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

OF_CUSTOMER = "customer_id = :customer_id"


@dataclass(frozen=True)
class Deleted:
    """The rows for which `which` holds, a condition with `:customer_id`, go; exported are they under `about`.

    `about` says what a row is to whom it is about; without it they are not exported, for `not_shown` as the reason.
    `opened` names columns that are sealed, and the field that each is sealed as.
    """

    which: str = OF_CUSTOMER
    about: str | None = None
    not_shown: str | None = None
    opened: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Kept:
    """The rows stay, for this reason."""

    reason: str


Rules: TypeAlias = Mapping[str, Deleted | Kept]
"""By table, in the order in which rows are deleted: what refers to others comes first."""

_ID = "convert_to(cast(:customer_id as text), 'UTF8')"
_LETTER = f"({OF_CUSTOMER} or key = {_ID})"
_LETTERS = f"select id from dead_letter where {_LETTER}"  # noqa: S608 - no value is in it
COPY = "a copy of what is exported from where it belongs"

OF_EVERY_SERVICE: dict[str, Deleted | Kept] = {
    "dead_letter_edit": Deleted(f"({OF_CUSTOMER} or letter_id in ({_LETTERS}))", not_shown=COPY),
    "dead_letter": Deleted(_LETTER, not_shown=COPY),
    "idempotency_key": Deleted(not_shown=COPY),
    "customer_scope": Deleted(about="who looks after you, and whether your record is restricted"),
    "data_key": Kept("the key in it is destroyed; that it was is what keeps later news of the customer out"),
    "service_key": Kept("the service's own"),
    "purge": Kept("what was deleted and when, without any value: the certificate is made of it"),
    "delegation": Kept("of the staff; the ids of customers in it lead to nobody any more"),
    "outbox": Kept("ids and facts on their way out, gone when they are sent"),
    "consumer_offset": Kept("how far topics are read"),
    "delivered_event": Kept("ids of events"),
    "audit_record": Kept("who reached whose record has to be provable; it names the customer by id only"),
    "audit_chain": Kept("what the audit is verified by"),
    "alembic_version": Kept("of migrations"),
}
