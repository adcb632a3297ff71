"""The core's topic in: the same use case as the HTTP boundary."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.receiving import Outcome, Received, Remembered, Unreadable, read_cloud_event, receive
from shared.clock import Clock
from shared.messaging.dead_letters import Parked, count_as_parked, park
from shared.messaging.records import Record, headers_of
from shared.messaging.seen import write_once


class CoreBanking:
    """Handler of `corebanking.events`, with what it was composed of."""

    def __init__(self, rules: Rules, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._remembered = Remembered()

    async def receive_core_events(self, session: AsyncSession, records: Sequence[Record]) -> None:
        """Applies, holds or parks each event; what has no identity becomes a dead letter."""
        known = self._remembered
        await write_once(session, lambda: self._receive(session, records), known.events, known.transactions)

    async def _receive(self, session: AsyncSession, records: Sequence[Record]) -> None:
        now = self._clock()
        read = [(record, read_record(record, now)) for record in records]
        await park(session, [Parked(r, u.code, u.detail) for r, u in read if isinstance(u, Unreadable)])
        received = [(record, event) for record, event in read if isinstance(event, Received)]
        events = [event for _, event in received]
        await receive_events(session, events, rules=self._rules, now=now, remembered=self._remembered)
        count_as_parked(session, (record for record, event in received if event.outcome is Outcome.PARKED))


def read_record(record: Record, now: datetime) -> Received | Unreadable:
    """CloudEvents' Kafka binding in either mode: attributes in `ce_` headers, or the whole event in the value."""
    value = record.value or b""
    headers = headers_of(record)
    if "ce_type" not in headers:
        return read_cloud_event(value, received_at=now)
    event_id = headers.get("ce_id", b"").decode("utf-8", "replace")
    if headers.get("ce_specversion") != b"1.0":
        return Unreadable("unknown_specversion", "/specversion", "ce_specversion must be 1.0", event_id=event_id[:200])
    try:
        occurred_at = msgspec.convert(_text(headers["ce_time"]), datetime) if "ce_time" in headers else now
    except msgspec.ValidationError:
        return Unreadable("malformed_cloud_event", "/time", "ce_time must be an RFC 3339 instant")
    source, type_name = _text(headers.get("ce_source", b"")), _text(headers["ce_type"])
    return receive(source, event_id, type_name, occurred_at, value, received_at=now)


@lru_cache(maxsize=1_000)
def _text(header: bytes) -> str:
    """Of what many records have alike."""
    return header.decode("utf-8", "replace")
