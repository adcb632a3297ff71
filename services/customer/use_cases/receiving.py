"""An event of the core on its way in: what it is, and what became of it."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from enum import StrEnum
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any, TypeVar, get_args

import msgspec
import numpy as np

from services.customer.domain.dates import is_plausible, may_have_happened
from shared.byte_slices import mixed
from shared.columns import Column, padded
from shared.events import EVENT_TYPES, Undecodable, decode, encode
from shared.events.base import undecodable
from shared.events.corebanking import CoreBankingEvent
from shared.masking import masked
from shared.messaging.seen import Hashes, Seen, hashes_of_columns

C = TypeVar("C", bound=CoreBankingEvent)

SAME_ID = "/id"
"""Where an event points whose id another one has: that one counts, so this one never gives way to it."""


class Outcome(StrEnum):
    APPLIED = "applied"
    HELD = "held"
    PARKED = "parked"
    DUPLICATE = "duplicate"


SETTLED = (Outcome.APPLIED, Outcome.DUPLICATE)


@masked
class Received(msgspec.Struct, eq=False):
    """`outcome` is what became of it so far; `data` is its payload as it came, `digest` 64 bits of its hash.

    `fingerprint` is what the database knows it by: see `fingerprints`.
    """

    source: str
    event_id: str
    type: str
    occurred_at: datetime
    event: CoreBankingEvent
    data: bytes | msgspec.Raw
    digest: int
    line: int = 0
    outcome: Outcome = Outcome.APPLIED
    waits_for: str | None = None
    code: str | None = None
    pointer: str | None = None
    detail: str | None = None
    fingerprint: int = 0

    @property
    def cloud_event(self) -> bytes:
        """In structured JSON, as it is kept."""
        attributes = {"specversion": "1.0", "id": self.event_id, "source": self.source, "type": self.type}
        data = msgspec.Raw(bytes(self.data) or b"null")
        return msgspec.json.encode({**attributes, "time": self.occurred_at, "data": data})

    def hold(self, kind: str, named: str, pointer: str) -> None:
        """Keeps it until the `kind` that it names arrives."""
        self.outcome, self.waits_for = Outcome.HELD, f"{kind}:{named}"
        self.code, self.pointer = f"unknown_{kind}", pointer
        self.detail = f"the {kind} that it names has not arrived yet; it is applied when that does"

    def park(self, code: str, pointer: str, detail: str) -> None:
        self.outcome, self.waits_for = Outcome.PARKED, None
        self.code, self.pointer, self.detail = code, pointer, detail

    def try_again(self) -> None:
        """Of a held one: what it waits for may be there."""
        self.outcome = Outcome.APPLIED
        self.waits_for = self.code = self.pointer = self.detail = None

    def is_a_duplicate(self) -> None:
        self.outcome = Outcome.DUPLICATE
        self.waits_for = None

    def repeats(self, known: int, pointer: str = "/data") -> None:
        """It was here before: the same again, or a conflict with what was applied."""
        if known == self.fingerprint:
            self.is_a_duplicate()
        else:
            self.park("conflicting_duplicate", pointer, "the same id came before with another payload")


class Unreadable(msgspec.Struct, frozen=True):
    """What came cannot be received: it is no CloudEvent, or has no identity to be received under."""

    code: str
    pointer: str
    detail: str
    line: int = 0
    event_id: str | None = None


class Remembered:
    """Ids that this process has seen: only others' need to be looked up. See `write_once`, which it needs."""

    def __init__(self, distrusted: int = Seen.DISTRUSTED) -> None:
        self.events = Seen(distrusted=distrusted)
        self.transactions = Seen(distrusted=distrusted)

    def distrust(self) -> None:
        """What it did not know was there."""
        self.events.distrust()
        self.transactions.distrust()


def hashes_in(source: str, *parts: Column) -> Hashes:
    """What is remembered of ids in a source, of which `parts` are texts: of an event its id, of a transaction two."""
    return mixed(hashes_of_columns(*map(padded, parts)) ^ np.uint64(hash(source) & (2**64 - 1)))


class Arrived:
    """One source's events in one transaction, by type; and what they brought that held events may wait for."""

    def __init__(
        self,
        source: str,
        events: Sequence[Received],
        brought: set[str] | None = None,
        remembered: Remembered | None = None,
    ) -> None:
        self.source = source
        self.events = events
        self.remembered = remembered
        """Without it everything is looked up."""
        self.brought: set[str] = set() if brought is None else brought
        """As `kind:id`."""
        self._by_type: dict[type[CoreBankingEvent], list[Received]] = {}
        for event in events:
            self._by_type.setdefault(type(event.event), []).append(event)

    def of(self, *types: type[C]) -> list[tuple[Received, C]]:
        """Those still to be applied that are of one of the types, with their events."""
        applied = Outcome.APPLIED
        found: list[tuple[Received, Any]] = []
        for event_type in types:
            found += [(each, each.event) for each in self._by_type.get(event_type, ()) if each.outcome is applied]
        return found

    def named(self, field: str) -> set[str]:
        """The ids that the events still to be applied have in a field."""
        return {
            getattr(each.event, field)
            for event_type, events in self._by_type.items()
            if field in event_type.__struct_fields__
            for each in events
            if each.outcome is Outcome.APPLIED
        }

    def held(self) -> list[Received]:
        return [event for event in self.events if event.outcome is Outcome.HELD]


@masked
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
        return Unreadable("malformed_cloud_event", wrong.pointer, wrong.detail, line)
    if envelope.specversion != "1.0":
        return Unreadable("unknown_specversion", "/specversion", "specversion must be 1.0", line, envelope.id[:200])
    return receive(
        envelope.source,
        envelope.id,
        envelope.type,
        envelope.time or received_at,
        envelope.data,
        received_at=received_at,
        line=line,
    )


def receive(
    source: str,
    event_id: str,
    type_name: str,
    occurred_at: datetime,
    data: bytes | msgspec.Raw,
    *,
    received_at: datetime,
    line: int = 0,
) -> Received | Unreadable:
    if not (is_name(event_id) and is_name(source) and is_name(type_name)):
        name = "id" if not is_name(event_id) else "source" if not is_name(source) else "type"
        detail = f"{name} must have 1 to {MAX_ID_LENGTH} characters, none of them NUL"
        return Unreadable("malformed_cloud_event", f"/{name}", detail, line)
    if occurred_at.tzinfo is None:
        return Unreadable("malformed_cloud_event", "/time", "time must have an offset", line, event_id)
    payload = bytes(data)
    try:
        event = _decode(type_name, payload)
        _refuse_implausible(event, occurred_at, received_at)
    except Undecodable as fault:
        wrong = Received(source, event_id, type_name, occurred_at, _NOTHING, data, _digest(payload), line)
        wrong.park(fault.code, fault.pointer, fault.detail)
        return wrong
    return Received(source, event_id, type_name, occurred_at, event, data, _digest(encode(event)), line)


def receive_fact(
    source: str, event_id: str, occurred_at: datetime, event: CoreBankingEvent, *, received_at: datetime, line: int
) -> Received:
    """An event that is decoded already, as from a row of a file; it is held to the same rules."""
    data = encode(event)
    received = Received(source, event_id, event.TYPE, occurred_at, event, data, _digest(data), line)
    try:
        _refuse_nul(data)
        _refuse_implausible(event, occurred_at, received_at)
    except Undecodable as fault:
        received.park(fault.code, fault.pointer, fault.detail)
    return received


def is_name(value: str) -> bool:
    return 0 < len(value) <= MAX_ID_LENGTH and "\x00" not in value


_NOTHING = CoreBankingEvent()
NUL = b"\\u0000"
"""In JSON; or a backslash, written as two, before it."""
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _digest(payload: bytes) -> int:
    """64 bits, by which the same payload is known again."""
    return int.from_bytes(blake2b(payload, digest_size=8).digest(), "big", signed=True)


def _decode(type_name: str, data: bytes) -> CoreBankingEvent:
    """Raises Undecodable, its pointer from the CloudEvent's root."""
    event_type = EVENT_TYPES.get(type_name)
    if event_type is None or not issubclass(event_type, CoreBankingEvent):
        raise Undecodable("unknown_event_type", "this type, or this version of it, is not known here", "/type")
    _refuse_nul(data)
    try:
        event: CoreBankingEvent = decode(event_type, data)
    except Undecodable as fault:
        raise Undecodable(fault.code, fault.detail, f"/data{fault.pointer}") from None
    return event


def _refuse_nul(data: bytes) -> None:
    """Raises Undecodable."""
    if NUL in data and _NUL.search(data):
        raise Undecodable("nul_character", "a NUL character cannot be stored", "/data")


_PLANNED = frozenset({"matures_on", "closed_on", "left_on", "opened_on", "customer_since", "happened_on"})


def _dates(annotation: Any) -> set[Any]:
    parts = get_args(annotation)
    return set().union(*map(_dates, parts)) if parts else {annotation}


@cache
def _dated(event_type: type[CoreBankingEvent]) -> tuple[tuple[str, bool], ...]:
    """Its fields that hold a date or an instant, and whether that may lie ahead."""
    return tuple(
        (field.name, field.name in _PLANNED)
        for field in msgspec.structs.fields(event_type)
        if _dates(field.type) & {date, datetime}
    )


def _refuse_implausible(event: CoreBankingEvent, occurred_at: datetime, now: datetime) -> None:
    """Raises Undecodable for dates that no bank can mean."""
    if not (is_plausible(occurred_at) and may_have_happened(occurred_at, now)):
        raise Undecodable("implausible_date", "the time lies too far back or ahead", "/time")
    for name, planned in _dated(type(event)):
        when = getattr(event, name)
        if when is not None and not is_possible(when, planned, now):
            raise Undecodable("implausible_date", "the date lies too far back or ahead", f"/data/{name}")


@lru_cache(maxsize=1_000)
def is_possible(when: date, planned: bool, now: datetime) -> bool:
    """A batch has few days."""
    return is_plausible(when) and (planned or may_have_happened(when, now))


def by_source(received: Iterable[Received]) -> dict[str, list[Received]]:
    """In the sources' order, so that two transactions take them in the same."""
    sources: dict[str, list[Received]] = {}
    for event in received:
        sources.setdefault(event.source, []).append(event)
    return dict(sorted(sources.items()))


def newest_revisions(
    arrived: Sequence[tuple[Received, C]],
    known: dict[Any, tuple[int, int]],
    identity: Callable[[C], Any],
    revision: Callable[[Any], int] = lambda event: event.revision,
) -> dict[Any, tuple[Received, C]]:
    """The greatest revision of each thing, where it is newer than what is known as (revision, fingerprint).

    An older one is a duplicate: its news is out of date. An equal one with another payload is parked.
    """
    newest: dict[Any, tuple[Received, C]] = {}
    current = dict(known)
    for received, event in arrived:
        key = identity(event)
        latest, fingerprint = current.get(key, (-1, 0))
        if revision(event) < latest:
            received.is_a_duplicate()
        elif revision(event) == latest:
            received.repeats(fingerprint)
        else:
            current[key] = (revision(event), received.fingerprint)
            newest[key] = (received, event)
    return newest
