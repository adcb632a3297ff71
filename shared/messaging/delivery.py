"""What a delivery does within the transaction of its caller: decode, park, deduplicate, hand over."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery, Undecodable
from shared.messaging.crash_points import CrashPoint, reached
from shared.messaging.dead_letters import Parked, park
from shared.messaging.records import Record, headers_of, read_event_of, type_of
from shared.messaging.subscriptions import Subscriptions
from shared.messaging.tracing import delivering

_KNOWN = text(
    "with given as (select unnest(cast(:ids as uuid[])) as event_id), fresh as ("
    " insert into delivered_event (event_id) select event_id from given on conflict do nothing returning event_id)"
    " select event_id from given where event_id not in (select event_id from fresh)"
)


async def deliver_records(
    session: AsyncSession, subscriptions: Subscriptions, topic: str, records: Sequence[Record], prepared: Any = None
) -> int:
    """Hands each record of the topic that is heard and new to its handler; returns how many had come before.

    `prepared` is what the handler's `prepare` has made of them, if it has.
    """
    hot = subscriptions.for_records(topic)
    if hot is not None:
        with delivering(f"process {topic}", ()):
            await hot.deliver(session, records, prepared)
        return 0
    heard, parked = read_heard(subscriptions, records)
    await park(session, parked)
    fresh = await deliver_once(session, heard)
    reached(CrashPoint.DEDUPLICATED)
    admitted = fresh if subscriptions.admit is None else await subscriptions.admit(session, fresh)
    for run in subscriptions.runs(admitted):
        with delivering(f"process {run.deliveries[0].event.TYPE}", run.deliveries):
            await run.subscription.handler(session, run.deliveries)
    return len(heard) - len(fresh)


def read_heard(subscriptions: Subscriptions, records: Sequence[Record]) -> tuple[list[Delivery[Any]], list[Parked]]:
    """The events that are heard here, and what is none: known events that nobody here hears are passed by undecoded."""
    heard: list[Delivery[Any]] = []
    parked: list[Parked] = []
    for record in records:
        headers = headers_of(record)
        try:
            event_type = type_of(headers)
            if subscriptions.hears(event_type):
                heard.append(read_event_of(event_type, headers, record))
        except Undecodable as fault:
            parked.append(Parked(record, fault.code, fault.detail))
    return heard, parked


async def deliver_once(session: AsyncSession, deliveries: Sequence[Delivery[Any]]) -> list[Delivery[Any]]:
    """Those of the deliveries that were never delivered before, each once, in order."""
    if not deliveries:
        return []
    once = {delivery.id: delivery for delivery in reversed(deliveries)}
    known = set((await session.scalars(_KNOWN, {"ids": list(once)})).all())
    if not known and len(once) == len(deliveries):
        return list(deliveries)
    return [delivery for delivery in deliveries if delivery.id not in known and once[delivery.id] is delivery]
