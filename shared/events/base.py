"""What every published event is made of, and how it reads and writes its bytes."""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A fact, named in the past tense. Unknown optional fields are ignored when it is read."""

    TYPE: ClassVar[str]
    """`<publisher>.<fact>.v<N>`, the `ce_type` on the wire."""
    TOPIC: ClassVar[str]

    @property
    def key(self) -> str:
        """What the event is about; everything with one key is in order in one partition."""
        raise NotImplementedError(f"{type(self).__name__} has no key")

    @property
    def source(self) -> str:
        return self.TYPE.partition(".")[0]


class CustomerEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A fact about one customer."""

    ABOUT_ERASED: ClassVar[bool] = False
    """Whether it is still heard when the customer has been erased: it is about the erasure."""
    customer_id: UUID

    @property
    def key(self) -> str:
        return str(self.customer_id)


E_co = TypeVar("E_co", bound=Event, covariant=True)
E = TypeVar("E", bound=Event)


class Delivery(msgspec.Struct, Generic[E_co], frozen=True):
    """An event as a handler gets it: the fact, and what its headers said."""

    id: UUID
    event: E_co
    occurred_at: datetime
    partition: int = 0
    traceparent: str | None = None


class Undecodable(Exception):
    """Bytes that are not the event they claim to be.

    `code` is stable (`malformed_event`, `unknown_event_type`, …); `pointer` is the JSON pointer
    (RFC 6901) of the first fault; `detail` quotes no value, for payloads can hold personal data.
    """

    def __init__(self, code: str, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.pointer = pointer


_encoder = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    return _encoder.encode(event)


@cache
def _decoder(event_type: type[Event]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(event_type)


def decode(event_type: type[E], payload: bytes | msgspec.Raw) -> E:
    """Raises Undecodable."""
    try:
        decoded: E = _decoder(event_type).decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise undecodable(fault) from None
    return decoded


def undecodable(fault: Exception) -> Undecodable:
    """What msgspec says, without the value that it may quote, and with a JSON pointer for its path."""
    what, _, path = str(fault).partition(" - at ")
    what = re.sub(r"(Invalid [a-z ]*value) .*", r"\1", what)
    pointer = re.sub(r"[.\[]", "/", path.strip("`").removeprefix("$").replace("]", ""))
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        pointer += f"/{missing[1]}"
    return Undecodable("malformed_event", what, pointer)


def concrete_events(base: type[Event] = Event) -> Iterator[type[Event]]:
    """Every declared event below `base`."""
    for event_type in base.__subclasses__():
        if "TYPE" in vars(event_type):
            yield event_type
        yield from concrete_events(event_type)
