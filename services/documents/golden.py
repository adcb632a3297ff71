"""One example of every event, written and checked by hand: documents show it and tests decode it.

A file is the CloudEvent in structured JSON, as the REST boundary takes it. On Kafka its attributes are headers.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import msgspec

from shared.events import EVENT_TYPES, Delivery, Event, decode
from shared.events.corebanking import CoreBankingEvent
from shared.messaging.records import Record, event_headers

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "contracts" / "golden"


class NoGoldenEvent(Exception):
    """An event has no example yet."""


@dataclass(frozen=True)
class GoldenEvent:
    event_type: type[Event]
    cloud_event: dict[str, Any]

    @property
    def event(self) -> Event:
        return decode(self.event_type, msgspec.json.encode(self.cloud_event["data"]))

    @property
    def id(self) -> UUID:
        """The core's ids are its own; ours are UUIDs."""
        stated = str(self.cloud_event["id"])
        return uuid5(NAMESPACE_URL, stated) if issubclass(self.event_type, CoreBankingEvent) else UUID(stated)

    @property
    def occurred_at(self) -> datetime:
        return datetime.fromisoformat(self.cloud_event["time"])

    @property
    def delivery(self) -> Delivery[Event]:
        """As a handler gets it."""
        return Delivery(id=self.id, event=self.event, occurred_at=self.occurred_at)

    @property
    def record(self) -> Record:
        """As it is on the wire."""
        headers = event_headers(self.id, str(self.cloud_event["type"]), self.occurred_at, None)
        value = msgspec.json.encode(self.cloud_event["data"])
        return Record(self.event_type.TOPIC, 0, 0, self.event.key.encode(), value, headers)

    @property
    def key(self) -> str:
        """The field that is the record's key, or the key itself where it is the same for all."""
        key = self.event.key
        fields = [name for name, value in self.cloud_event["data"].items() if value == key]
        return f"`{fields[0]}`" if fields else f'always "{key}"'


def read_golden_event(name: str) -> GoldenEvent:
    """Raises NoGoldenEvent."""
    path = GOLDEN / f"{name}.json"
    if not path.exists():
        raise NoGoldenEvent(f"write one by hand: tests/contracts/golden/{name}.json")
    return GoldenEvent(EVENT_TYPES[name], json.loads(path.read_text(encoding="utf-8")))


def golden_events() -> dict[str, GoldenEvent]:
    """Of every event, by publisher and name."""
    return {name: read_golden_event(name) for name in sorted(EVENT_TYPES)}
