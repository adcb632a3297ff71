"""What the audit keeps of an access, and the chain that holds the rows together.

A row's MAC is HMAC-SHA-256 over the MAC of the row before and the row as JSON: members in the order that they are
declared here, no white space, UTF-8, instants in RFC 3339 with Z. Changing this breaks every chain that was written.
"""

import hmac
import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

import msgspec

from shared.masking import masked

MOST_CUSTOMERS = 1_000
"""Whom one row lists. No answer shows more; a batch of events may change more: then their number is right, and the
topic's offsets in `resource` say which events it was."""


class Action(StrEnum):
    READ = "read"
    CHANGE = "change"
    AUDIT = "audit"
    """Of the audit itself: a chain begins, ends, is checkpointed, loses its oldest part."""


class Outcome(StrEnum):
    SHOWN = "shown"
    NOT_SHOWN = "not_shown"
    """Asked for in a request that showed others: not there, or not the asker's to see."""
    CHANGED = "changed"
    """Written before the change is committed: no change is without its row."""
    UNDONE = "undone"
    """The change of the same request, in a row before this, was not committed after all."""
    REFUSED = "refused"
    FAILED = "failed"
    """Something went wrong here: nothing was shown and nothing changed."""
    NOTED = "noted"


@masked
class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's access to customers' records, before it has its place in a chain. Holds nothing personal of them."""

    action: str
    outcome: str
    operation: str
    resource: str
    purpose: str
    actor: str
    role: str
    status: int | None = None
    branch_id: str | None = None
    on_behalf_of: str | None = None
    address: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    customer_ids: tuple[UUID, ...] = ()
    customer_count: int = 0


@masked
class Row(msgspec.Struct, frozen=True):
    """An access in its place. The members, their order and their types are the canonical form that is signed."""

    chain_id: UUID
    sequence: int
    at: datetime
    action: str
    outcome: str
    status: int | None
    operation: str
    resource: str
    purpose: str
    actor: str
    role: str
    branch_id: str | None
    on_behalf_of: str | None
    address: str | None
    request_id: str | None
    trace_id: str | None
    customer_ids: list[UUID]
    customer_count: int


class ChainOpening(msgspec.Struct, frozen=True, kw_only=True):
    """What a chain begins with; its MAC stands before the first row."""

    service: str
    chain_id: UUID
    key_id: str
    process: str
    started_at: datetime


COLUMNS = Row.__struct_fields__

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_encode = msgspec.json.Encoder().encode


def row_of(access: Access, chain_id: UUID, sequence: int, at: datetime) -> Row:
    return Row(
        chain_id=chain_id,
        sequence=sequence,
        at=at,
        action=access.action,
        outcome=access.outcome,
        status=access.status,
        operation=access.operation,
        resource=access.resource,
        purpose=access.purpose,
        actor=access.actor,
        role=access.role,
        branch_id=access.branch_id,
        on_behalf_of=access.on_behalf_of,
        address=access.address,
        request_id=access.request_id,
        trace_id=access.trace_id,
        customer_ids=list(access.customer_ids),
        customer_count=access.customer_count,
    )


def canonical(signed: msgspec.Struct) -> bytes:
    return _encode(signed)


def opening_mac(key: bytes, opening: ChainOpening) -> bytes:
    return hmac.digest(key, b"branchline-audit-chain-1\0" + canonical(opening), "sha256")


def row_mac(key: bytes, previous: bytes, row: bytes) -> bytes:
    """Of a row in its canonical form."""
    return hmac.digest(key, b"branchline-audit-row-1\0" + previous + row, "sha256")


def own_access(service: str, operation: str, resource: str) -> Access:
    """Something that the audit keeps of itself."""
    return Access(
        action=Action.AUDIT,
        outcome=Outcome.NOTED,
        operation=operation,
        resource=resource,
        purpose="audit",
        actor=service,
        role="service",
    )


def position(chain_id: UUID, sequence: int, mac: bytes) -> str:
    """A row's place and MAC, as rows about chains name it."""
    return f"chain/{chain_id}/{sequence}/{mac.hex()}"


class Customers(NamedTuple):
    """Each once, in the order that they came; of very many only the first, and how many they are."""

    ids: tuple[UUID, ...] = ()
    number: int = 0

    def __or__(self, other: "Customers") -> "Customers":
        ids = tuple(dict.fromkeys((*self.ids, *other.ids)))
        more = self.number + other.number - len(self.ids) - len(other.ids)
        return Customers(ids[:MOST_CUSTOMERS], len(ids) + more)


def customers(ids: Iterable[UUID]) -> Customers:
    once = tuple(dict.fromkeys(ids))
    return Customers(once[:MOST_CUSTOMERS], len(once))


def customers_of_keys(keys: Iterable[str]) -> Customers:
    """Of events' keys, some of which are customers' ids and others a branch's or a manager's code."""
    once = [k for k in dict.fromkeys(keys) if len(k) == 36 and k[8] == k[13] == k[18] == k[23] == "-"]
    try:
        bytes.fromhex("".join(once).replace("-", ""))  # all at once: half the time that a match of each takes
    except ValueError:
        once = [key for key in once if _UUID.fullmatch(key)]
    return Customers(tuple(UUID(key) for key in once[:MOST_CUSTOMERS]), len(once))
