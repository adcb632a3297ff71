"""What travels: records as a log keeps them, and how an event becomes one and is read back.

CloudEvents 1.0, Kafka protocol binding, binary mode: attributes in `ce_` headers, JSON data.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec

from shared.events import EVENT_TYPES, Delivery, Event, Undecodable, decode
from shared.masking import masked

Headers = tuple[tuple[str, bytes], ...]
ReadHeaders = Sequence[tuple[str, bytes | None]]
"""Kafka's may be null; `headers_of` reads them."""


class TopicPartition(NamedTuple):
    topic: str
    partition: int


@masked
class Record(NamedTuple):
    """One record of a log. `offset` counts from 0 within its partition."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: ReadHeaders


@masked
class Outgoing(NamedTuple):
    """A record to be appended; without `partition`, the key chooses it."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers
    partition: int | None = None


class Batch(NamedTuple):
    """Consecutive records of one partition. `expected` is the offset that was asked for.

    `prepared` is what their handler has made of them ahead, None where it has not (`Subscriptions.on_records`).
    """

    at: TopicPartition
    expected: int
    records: Sequence[Record]
    prepared: Any = None

    @property
    def next_offset(self) -> int:
        return self.records[-1].offset + 1


class NotSent(Exception):
    """Some of the records may not have been appended; sending all of them again puts that right."""


class Publisher(Protocol):
    async def send(self, records: list[Outgoing]) -> None:
        """Appends in order; returns when all are durable. Raises NotSent."""

    async def close(self) -> None: ...


def headers_of(record: Record) -> dict[str, bytes]:
    """By name; one without a value is empty."""
    return {name: value or b"" for name, value in record.headers}


def event_headers(event_id: UUID, event_type: str, occurred_at: datetime, traceparent: str | None) -> Headers:
    headers = (
        _SPECVERSION,
        ("ce_id", str(event_id).encode()),
        *_headers_of(event_type),
        ("ce_time", occurred_at.isoformat().encode()),
        _JSON,
    )
    return (*headers, ("traceparent", traceparent.encode())) if traceparent else headers


_SPECVERSION = ("ce_specversion", b"1.0")
_JSON = ("content-type", b"application/json")


@cache
def _headers_of(event_type: str) -> Headers:
    return ("ce_type", event_type.encode()), ("ce_source", event_type.partition(".")[0].encode())


_MALFORMED = "ce_id must be a UUID and ce_time an RFC 3339 instant with an offset"

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, 3.2; whatever else the header says is not passed on."""
_TYPES = {name.encode(): event_type for name, event_type in EVENT_TYPES.items()}
_read_id = msgspec.json.Decoder(UUID).decode


def type_of(headers: Mapping[str, bytes]) -> type[Event]:
    """Raises Undecodable for a record that does not say which of our events it is."""
    if headers.get("ce_specversion") != b"1.0":
        raise Undecodable("unknown_specversion", "ce_specversion must be 1.0")
    name = headers.get("ce_type", b"")
    event_type = _TYPES.get(name)
    if event_type is None:
        raise Undecodable(
            "unknown_event_type", f"no event type {name.decode('utf-8', 'replace')[:200]!r} is known here"
        )
    return event_type


def read_event(record: Record) -> Delivery[Any]:
    """Raises Undecodable for a record that is not one of our events."""
    headers = headers_of(record)
    return read_event_of(type_of(headers), headers, record)


def read_event_of(event_type: type[Event], headers: Mapping[str, bytes], record: Record) -> Delivery[Any]:
    """Raises Undecodable for a record that is not an event of this type."""
    try:
        event_id = _read_id(b'"%b"' % headers["ce_id"])
        occurred_at = datetime.fromisoformat(headers["ce_time"].decode())
    except (KeyError, ValueError, msgspec.MsgspecError):
        raise Undecodable("malformed_headers", _MALFORMED) from None
    if occurred_at.tzinfo is None or not _is_in_utc(occurred_at):
        raise Undecodable("malformed_headers", _MALFORMED)
    if record.value is None:
        raise Undecodable("malformed_event", "the record has no value")
    traceparent = headers.get("traceparent", b"")
    return Delivery(
        id=event_id,
        event=decode(event_type, record.value),
        occurred_at=occurred_at,
        partition=record.partition,
        traceparent=traceparent.decode() if _TRACEPARENT.fullmatch(traceparent) else None,
    )


def _is_in_utc(instant: datetime) -> bool:
    """Whether it is of a year that a datetime has in UTC, too: else what follows from the event could never be sent."""
    if 1 < instant.year < 9999:
        return True
    try:
        instant.astimezone(UTC)
    except OverflowError:
        return False
    return True
