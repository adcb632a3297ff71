"""A core-banking event on the wire: one CloudEvent (1.0, structured JSON) a line."""

from datetime import date

import msgspec

from shared.events.corebanking import CoreBankingEvent
from shared.masking import masked


@masked
class CloudEvent(msgspec.Struct, frozen=True, gc=False):
    """`id` is the fact's: the same fact has the same id whenever and however often it is made."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    data: CoreBankingEvent


_encoder = msgspec.json.Encoder()


def line(source: str, id: str, time: str, event: CoreBankingEvent) -> bytes:
    """Without the line's end. `time` is RFC 3339 in UTC."""
    return _encoder.encode(CloudEvent("1.0", id, source, event.TYPE, time, event))


def instant(day: date, minute: int) -> str:
    """The minute of a day, RFC 3339 in UTC."""
    return f"{day.isoformat()}T{minute // 60:02d}:{minute % 60:02d}:00Z"
