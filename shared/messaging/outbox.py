"""The outbox: an event is written in the transaction that made it true. Only the relay sends."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple, cast
from uuid import UUID

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from shared.clock import system_clock
from shared.columns import Column, byteas, codes, constant, instants, uuids
from shared.copying import copy_columns, copy_rows
from shared.events import Delivery, Event, encode
from shared.ids import derived_id, new_id, new_ids
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


@masked
class _Many(NamedTuple):
    type: str
    topic: str
    keys: Sequence[str]
    payloads: Sequence[bytes]
    occurred_at: datetime
    traceparent: str | None

    @property
    def columns(self) -> dict[str, Column]:
        count = len(self.keys)
        at = np.full(count, round(self.occurred_at.timestamp() * 1e6))
        columns = {
            "event_id": uuids(new_ids(count)),
            "type": constant(self.type, count),
            "topic": constant(self.topic, count),
            "key": codes(self.keys),
            "occurred_at": instants(at),
        }
        if self.traceparent is not None:
            columns["traceparent"] = constant(self.traceparent, count)
        return {**columns, "payload": byteas(self.payloads)}  # the last, since it is long and of any length


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


def publish_encoded(
    session: AsyncSession, event_type: type[Event], keys: Sequence[str], payloads: Sequence[bytes]
) -> None:
    """As `publish` of many events of one type, each with its key: for who has encoded them at once.

    Raises EventTooLarge.
    """
    if not payloads:
        return
    if (most := max(map(len, payloads))) > MOST_BYTES:
        raise EventTooLarge(f"{event_type.TYPE} of {most} bytes")
    many = _Many(event_type.TYPE, event_type.TOPIC, keys, payloads, system_clock(), traceparent_of(None))
    session.info.setdefault(_PENDING, []).append(many)


def pending_events(session: AsyncSession) -> int:
    """How often the session's transaction has published; for `forget_pending`."""
    return len(session.info.get(_PENDING, ()))


def pending_keys(session: AsyncSession) -> list[str]:
    """The keys of the events that the session's transaction will write: whose state it changes."""
    keys: list[str] = []
    for each in session.info.get(_PENDING, ()):
        keys += [each.key] if isinstance(each, _Row) else each.keys
    return keys


def forget_pending(session: AsyncSession, beyond: int) -> None:
    """For who rolls back to a savepoint: what was published after `pending_events` was this is forgotten."""
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
    published: list[_Row | _Many] = session.info.pop(_PENDING, [])
    if not published:
        return False
    for kind, some in groupby(published, type):
        if kind is _Row:
            await copy_rows(session, "outbox", _COLUMNS, cast("Iterable[_Row]", some))
        else:
            for many in cast("Iterable[_Many]", some):
                await copy_columns(session, "outbox", many.columns)
    reached(CrashPoint.OUTBOX_WRITTEN)
    return True
