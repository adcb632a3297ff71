"""The core's topic in: the same use case as the HTTP boundary."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.receiving import Received, Unreadable, read_cloud_event, receive
from shared.clock import Clock
from shared.messaging.dead_letters import Parked, park
from shared.messaging.records import Record


class CoreBanking:
    """Handler of `corebanking.events`, with what it was composed of."""

    def __init__(self, rules: Rules, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock

    async def receive_core_events(self, session: AsyncSession, records: Sequence[Record]) -> None:
        """Applies, holds or parks each event; what has no identity becomes a dead letter."""
        now = self._clock()
        read = [(record, read_record(record, now)) for record in records]
        await park(session, [Parked(r, u.code, u.detail) for r, u in read if isinstance(u, Unreadable)])
        received = [event for _record, event in read if isinstance(event, Received)]
        await receive_events(session, received, rules=self._rules, now=now)


def read_record(record: Record, now: datetime) -> Received | Unreadable:
    """CloudEvents' Kafka binding in either mode: attributes in `ce_` headers, or the whole event in the value."""
    value = record.value or b""
    headers = {name: header.decode("utf-8", "replace") for name, header in record.headers}
    if "ce_type" not in headers:
        return read_cloud_event(value, received_at=now)
    try:
        occurred_at = datetime.fromisoformat(headers["ce_time"]) if "ce_time" in headers else now
    except ValueError:
        return Unreadable("malformed_cloud_event", "/time", "ce_time must be an RFC 3339 instant", value)
    attributes = {
        "specversion": "1.0",
        "id": headers.get("ce_id", ""),
        "source": headers.get("ce_source", ""),
        "type": headers["ce_type"],
    }
    try:
        payload = msgspec.json.encode({**attributes, "time": occurred_at, "data": msgspec.Raw(value or b"null")})
    except ValueError:
        return Unreadable("malformed_cloud_event", "/time", "ce_time must be an RFC 3339 instant", value)
    return receive(
        source=attributes["source"],
        event_id=attributes["id"],
        type_name=attributes["type"],
        occurred_at=occurred_at,
        data=value,
        payload=payload,
    )
