"""The sample bank's year, read back from its lines."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeVar

import msgspec

from feeds import sample_bank
from shared.events import EVENT_TYPES, Event

SEED, UNTIL = 1, date(2026, 5, 3)

E = TypeVar("E", bound=Event)


class Envelope(msgspec.Struct, frozen=True):
    specversion: str
    id: str
    source: str
    type: str
    time: datetime
    data: msgspec.Raw


def opened(line: bytes) -> tuple[Envelope, Event]:
    envelope = msgspec.json.decode(line, type=Envelope)
    return envelope, msgspec.json.decode(envelope.data, type=EVENT_TYPES[envelope.type])


@dataclass
class Year:
    seconds: float = 0
    digest: str = ""
    ids: set[str] = field(default_factory=set)
    times: list[datetime] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def of(self, kind: type[E]) -> Iterator[E]:
        return (event for event in self.events if isinstance(event, kind))


def read_year() -> Year:
    seen, digest = Year(), hashlib.sha256()
    begun = time.process_time()
    lines = list(sample_bank.lines(SEED, UNTIL))
    seen.seconds = time.process_time() - begun
    for line in lines:
        digest.update(line + b"\n")
        envelope, event = opened(line)
        assert (envelope.specversion, envelope.source) == ("1.0", "sample-bank")
        seen.ids.add(envelope.id)
        seen.times.append(envelope.time)
        seen.events.append(event)
    seen.digest = digest.hexdigest()
    return seen
