"""An event of the core on its way in: what it is, and what became of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
from sqlalchemy import CollectionAggregate, any_, literal
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from shared.events import EVENT_TYPES, Undecodable, decode, encode
from shared.events.base import undecodable
from shared.events.corebanking import CoreBankingEvent

C = TypeVar("C", bound=CoreBankingEvent)
K = TypeVar("K")


class Outcome(StrEnum):
    APPLIED = "applied"
    HELD = "held"
    PARKED = "parked"
    DUPLICATE = "duplicate"


@dataclass(slots=True)
class Received:
    """`outcome` is what became of it so far; `payload` is the CloudEvent as it came."""

    source: str
    event_id: str
    type: str
    occurred_at: datetime
    event: CoreBankingEvent
    payload: bytes
    fingerprint: int
    line: int = 0
    outcome: Outcome = Outcome.APPLIED
    waits_for: str | None = None
    code: str | None = None
    pointer: str | None = None
    detail: str | None = None

    @property
    def identity(self) -> tuple[str, str]:
        return self.source, self.event_id

    def hold(self, kind: str, named: str, pointer: str) -> None:
        """Keeps it until the `kind` that it names arrives."""
        self.outcome, self.waits_for = Outcome.HELD, f"{kind}:{named}"
        self.code, self.pointer = f"unknown_{kind}", pointer
        self.detail = f"the {kind} that it names has not arrived yet; it is applied when that does"

    def park(self, code: str, pointer: str, detail: str) -> None:
        self.outcome, self.waits_for = Outcome.PARKED, None
        self.code, self.pointer, self.detail = code, pointer, detail

    def is_a_duplicate(self) -> None:
        self.outcome = Outcome.DUPLICATE

    def repeats(self, known: int) -> None:
        """It was here before: the same again, or a conflict with what was applied."""
        if known == self.fingerprint:
            self.is_a_duplicate()
        else:
            self.park("conflicting_duplicate", "/data", "the same id came before with another payload")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What came cannot be received: it is no CloudEvent, or has no identity to be received under."""

    code: str
    pointer: str
    detail: str
    payload: bytes
    line: int = 0
    event_id: str | None = None


@dataclass(slots=True)
class Arrivals:
    """What the events of one transaction brought, as `kind:id` by source: held events may wait for it."""

    keys: set[tuple[str, str]] = field(default_factory=set)

    def add(self, source: str, kind: str, named: str) -> None:
        self.keys.add((source, f"{kind}:{named}"))


class _CloudEvent(msgspec.Struct, frozen=True):
    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw
    time: datetime | None = None


_cloud_event = msgspec.json.Decoder(_CloudEvent)
MAX_ID_LENGTH = 200


def read_cloud_event(payload: bytes, *, received_at: datetime, line: int = 0) -> Received | Unreadable:
    """A CloudEvent in structured JSON. One with an identity but wrong data is received, parked."""
    try:
        envelope = _cloud_event.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        wrong = undecodable(fault)
        return Unreadable("malformed_cloud_event", wrong.pointer, wrong.detail, payload, line)
    if envelope.specversion != "1.0":
        return Unreadable("unknown_specversion", "/specversion", "specversion must be 1.0", payload, line, envelope.id)
    return receive(
        source=envelope.source,
        event_id=envelope.id,
        type_name=envelope.type,
        occurred_at=envelope.time or received_at,
        data=envelope.data,
        payload=payload,
        line=line,
    )


def receive(
    *,
    source: str,
    event_id: str,
    type_name: str,
    occurred_at: datetime,
    data: bytes | msgspec.Raw,
    payload: bytes,
    line: int = 0,
) -> Received | Unreadable:
    for name, value in (("id", event_id), ("source", source), ("type", type_name)):
        if not 0 < len(value) <= MAX_ID_LENGTH or "\x00" in value:
            detail = f"{name} must have 1 to {MAX_ID_LENGTH} characters, none of them NUL"
            return Unreadable("malformed_cloud_event", f"/{name}", detail, payload, line)
    if occurred_at.tzinfo is None:
        return Unreadable("malformed_cloud_event", "/time", "time must have an offset", payload, line, event_id)
    event: CoreBankingEvent = _NOTHING
    wrong: Undecodable | None = None
    try:
        event = _decode(type_name, data)
    except Undecodable as fault:
        wrong = fault
    hashed = bytes(data) if wrong else encode(event)
    fingerprint = int.from_bytes(blake2b(hashed, digest_size=8).digest(), "big", signed=True)
    received = Received(source, event_id, type_name, occurred_at, event, payload, fingerprint, line)
    if wrong:
        received.park(
            wrong.code, f"/data{wrong.pointer}" if wrong.code != "unknown_event_type" else "/type", wrong.detail
        )
    return received


_NOTHING = CoreBankingEvent()


def _decode(type_name: str, data: bytes | msgspec.Raw) -> CoreBankingEvent:
    event_type = EVENT_TYPES.get(type_name)
    if event_type is None or not issubclass(event_type, CoreBankingEvent):
        raise Undecodable("unknown_event_type", "this type, or this version of it, is not known here")
    if b"\\u0000" in bytes(data):
        raise Undecodable("nul_character", "a NUL character cannot be stored")
    event: CoreBankingEvent = decode(event_type, data)
    return event


def by_source(identities: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The ids of each source, in order: for look-ups by array, which take any number of ids."""
    ids: dict[str, list[str]] = {}
    for source, core_id in sorted(identities):
        ids.setdefault(source, []).append(core_id)
    return ids


def any_of(ids: Sequence[str]) -> CollectionAggregate[bool]:
    """For `column == any_of(ids)`."""
    return any_(literal(ids, ARRAY(TEXT)))


def of_type(received: Iterable[Received], *types: type[C]) -> list[tuple[Received, C]]:
    """Those still to be applied that are of one of the types, with their events."""
    return [(r, r.event) for r in received if r.outcome is Outcome.APPLIED and isinstance(r.event, types)]


def newest_revisions(
    arrived: Sequence[tuple[Received, Any]],
    known: dict[K, tuple[int, int]],
    identity: Callable[[Received, Any], K],
    revision: Callable[[Any], int] = lambda event: event.revision,
) -> dict[K, tuple[Received, Any]]:
    """The greatest revision of each thing, where it is newer than what is known as (revision, fingerprint).

    An older one is a duplicate: its news is out of date. An equal one with another payload is parked.
    """
    newest: dict[K, tuple[Received, Any]] = {}
    current = dict(known)
    for received, event in arrived:
        key = identity(received, event)
        latest, fingerprint = current.get(key, (-1, 0))
        if revision(event) < latest:
            received.is_a_duplicate()
        elif revision(event) == latest:
            received.repeats(fingerprint)
        else:
            current[key] = (revision(event), received.fingerprint)
            newest[key] = (received, event)
    return newest
