"""Replaying a dead letter: the same way as its first delivery, in the transaction of whoever asks."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.audit.unattended import reach
from shared.messaging.dead_letters import Parked, customer_of, failed, field_of, forget_parked, parked_in
from shared.messaging.delivery import deliver_records, read_heard
from shared.messaging.faults import is_transient
from shared.messaging.outbox import forget_pending, pending_events
from shared.messaging.records import Record
from shared.messaging.subscriptions import Subscriptions
from shared.messaging.tables import dead_letter
from shared.sealing.kept import Kept, open_kept

PAYLOAD_GONE = "payload_gone"
GONE = "its customer was erased, and what it held with their key"


class NoSuchLetter(Exception):
    """There is none, or it has been delivered meanwhile."""


class _ParkedAgain(Exception):
    def __init__(self, parked: Parked) -> None:
        super().__init__(parked.code)
        self.parked = parked


async def replay(session: AsyncSession, subscriptions: Subscriptions, letter_id: UUID, now: datetime) -> bool:
    """Delivers the letter and removes it: True. One that fails again stays, without a trace but its new reason: False.

    Doing it again does nothing more: an event that was delivered before is only removed. Raises NoSuchLetter.
    """
    found = await session.execute(select(dead_letter).where(dead_letter.c.id == letter_id).with_for_update())
    letter = found.one_or_none()
    if letter is None:
        raise NoSuchLetter
    payload = await open_payload(session, letter)
    if payload is None and letter.sealed is not None:
        gone = {"code": PAYLOAD_GONE, "detail": GONE, "replayed_at": now, "replays": letter.replays + 1}
        await session.execute(update(dead_letter).where(dead_letter.c.id == letter_id).values(gone))
        return False
    headers = tuple((name, value.encode()) for name, value in letter.headers.items())
    record = Record(letter.topic, letter.partition, letter.offset, letter.key, payload, headers)
    published = pending_events(session)
    try:
        async with session.begin_nested():
            await _deliver(session, subscriptions, record)
    except Exception as fault:
        if is_transient(fault):
            raise
        parked = fault.parked if isinstance(fault, _ParkedAgain) else failed(record, fault)
        forget_pending(session, published)
        forget_parked(session)
        reason = {"code": parked.code, "detail": parked.detail, "replayed_at": now, "replays": letter.replays + 1}
        await session.execute(update(dead_letter).where(dead_letter.c.id == letter_id).values(reason))
        return False
    await session.execute(delete(dead_letter).where(dead_letter.c.id == letter_id))
    return True


async def open_payload(session: AsyncSession, letter: Row[Any]) -> bytes | None:
    """None where it had none, or is gone with its customer's key. Whoever opens it reaches that customer's record."""
    reach(session, [letter.customer_id or customer_of(letter.key)])
    if letter.sealed is None:
        return None
    (payload,) = await open_kept(session, [(field_of(letter.id), Kept(letter.sealed, letter.customer_id))])
    return payload


async def _deliver(session: AsyncSession, subscriptions: Subscriptions, record: Record) -> None:
    if subscriptions.for_records(record.topic) is None and read_heard(subscriptions, [record]) == ([], []):
        raise _ParkedAgain(Parked(record, "not_heard", "nothing here hears events of this type any more"))
    await deliver_records(session, subscriptions, record.topic, [record])
    for parked in parked_in(session):
        raise _ParkedAgain(parked)
