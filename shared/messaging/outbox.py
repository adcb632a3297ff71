"""The outbox: an event is written in the transaction that made it true. Only the relay sends."""

import asyncio
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.clock import system_clock
from shared.copying import copy_rows
from shared.events import Delivery, Event, encode
from shared.ids import derived_id, new_id
from shared.masking import masked
from shared.messaging.crash_points import CrashPoint, reached
from shared.messaging.tracing import traceparent_of

_PENDING = "outbox"
MOST_BYTES = 900_000
"""Of an event's payload: Kafka takes records of up to a mebibyte, headers included."""


@masked
class _Row(NamedTuple):
    event_id: UUID
    type: str
    topic: str
    key: str
    partition: int | None
    payload: bytes
    occurred_at: datetime
    traceparent: str | None


class EventTooLarge(Exception):
    """No log would take the event, and it would stand in the way of all that follow: its publisher must split it."""


class OutboxSignal(asyncio.Event):
    """Set when this process has written to the outbox, so that its relay need not wait for its next look."""


def publish(
    session: AsyncSession,
    event: Event,
    *,
    cause: Delivery[Any] | None = None,
    step: str | None = None,
    partition: int | None = None,
    occurred_at: datetime | None = None,
) -> UUID:
    """Adds an event to the session's transaction and returns its id.

    An event caused by another takes its id from the cause and the step (by default its type), so that
    doing it again gives the same event; one cause that publishes a type twice names its steps.
    `partition` sends it there and not where its key belongs. Raises EventTooLarge.
    """
    payload = encode(event)
    if len(payload) > MOST_BYTES:
        raise EventTooLarge(f"{event.TYPE} of {len(payload)} bytes")
    event_id = derived_id(cause.id, step or event.TYPE) if cause else new_id()
    row = _Row(
        event_id=event_id,
        type=event.TYPE,
        topic=event.TOPIC,
        key=event.key,
        partition=partition,
        payload=payload,
        occurred_at=occurred_at or (cause.occurred_at if cause else system_clock()),
        traceparent=traceparent_of(cause.traceparent if cause else None),
    )
    session.info.setdefault(_PENDING, []).append(row)
    return event_id


def pending_events(session: AsyncSession) -> int:
    """How many events the session's transaction will write."""
    return len(session.info.get(_PENDING, ()))


def pending_keys(session: AsyncSession) -> list[str]:
    """The keys of the events that the session's transaction will write: whose state it changes."""
    return [row.key for row in session.info.get(_PENDING, ())]


def forget_pending(session: AsyncSession, beyond: int) -> None:
    """For who rolls back to a savepoint: of what was published, only the first `beyond` events stay."""
    del session.info.get(_PENDING, [])[beyond:]


_COLUMNS = {
    "event_id": "uuid",
    "type": "text",
    "topic": "text",
    "key": "text",
    "partition": "int2",
    "payload": "bytea",
    "occurred_at": "timestamptz",
    "traceparent": "text",
}


async def write_outbox(session: AsyncSession) -> bool:
    """Writes what was published; the transaction's owner calls this last before it commits. True if any was."""
    rows: list[_Row] = session.info.pop(_PENDING, [])
    if not rows:
        return False
    await copy_rows(session, "outbox", _COLUMNS, rows)
    reached(CrashPoint.OUTBOX_WRITTEN)
    return True
