"""Events of the core that are held or parked: an operator sees them, mends them, and has them received again."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import KeptEventGone, KeptEventNotFound, NotACloudEvent
from services.customer.models import KeptEvent, KeptEventEdit
from services.customer.use_cases.fingerprints import keyed_fingerprints
from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.kept_bytes import open_events
from services.customer.use_cases.receiving import Received, read_cloud_event
from shared.audit.unattended import reach
from shared.clock import Clock
from shared.database import Database
from shared.ids import new_id
from shared.messaging.editing import KEEP_EDITS, merge
from shared.sealing.kept import Kept, Plain, open_kept, seal_to_keep


class KeptKey(NamedTuple):
    """`fingerprint` tells the payloads of one id apart."""

    source: str
    event_id: str
    fingerprint: int

    @property
    def opaque(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def read(cls, opaque: str) -> "KeptKey":
        """Raises KeptEventNotFound."""
        try:
            written = base64.b64decode(opaque + "=" * (-len(opaque) % 4), altchars=b"-_", validate=True)
            return msgspec.json.decode(written, type=cls)
        except (binascii.Error, ValueError):
            raise KeptEventNotFound from None


async def get_kept_event(session: AsyncSession, key: KeptKey, *, locked: bool = False) -> KeptEvent:
    """To open or to receive it: its customer's record is reached. Raises KeptEventNotFound."""
    if not -(2**63) <= key.fingerprint < 2**63 or "\x00" in key.source + key.event_id:
        raise KeptEventNotFound
    kept = await session.get(KeptEvent, key, with_for_update=locked or None)
    if kept is None:
        raise KeptEventNotFound
    reach(session, [kept.customer_id])
    return kept


async def get_edits(session: AsyncSession, key: KeptKey) -> Sequence[KeptEventEdit]:
    """Of all payloads under the id, the first edit first."""
    found = await session.scalars(
        select(KeptEventEdit)
        .where(KeptEventEdit.source == key.source, KeptEventEdit.event_id == key.event_id)
        .order_by(KeptEventEdit.edited_at, KeptEventEdit.id)
    )
    return found.all()


async def mend_kept_event(
    session: AsyncSession, key: KeptKey, patch: Mapping[str, Any], *, by: str, rules: Rules, now: datetime
) -> Received:
    """Receives it again, changed by a JSON merge patch of its CloudEvent; what it was is kept, with who changed it.

    Raises KeptEventNotFound, KeptEventGone; NotACloudEvent for a change that takes away what it is received under.
    """
    kept = await get_kept_event(session, key, locked=True)
    before = await _open(session, kept)
    was = msgspec.json.decode(before)
    wanted = merge(was, patch)
    # What is not changed keeps its bytes, by which it is known.
    payload = before if wanted == was else msgspec.json.encode(wanted)
    mended = read_cloud_event(payload, received_at=now)
    if not isinstance(mended, Received):
        raise NotACloudEvent(mended.detail)
    (await keyed_fingerprints(session)).give([mended])
    if (mended.source, mended.event_id, mended.fingerprint) != key:
        await session.execute(delete(KeptEvent).where(*_is(key)))
        edit_id = new_id()
        plain = Plain(_field_of_edit(edit_id), before, kept.customer_id)
        (sealed,) = await seal_to_keep(session, "kept_event_edit", [plain])
        if sealed is None:
            raise KeptEventGone
        session.add(
            KeptEventEdit(
                id=edit_id,
                source=key.source,
                event_id=key.event_id,
                customer_id=sealed.customer_id,
                names=kept.names,
                sealed=sealed.sealed,
                edited_at=now,
                edited_by=by,
            )
        )
        await session.flush()
    await receive_events(session, [mended], rules=rules, now=now)
    return mended


async def replay_kept_events(
    session: AsyncSession, keys: Sequence[KeptKey], *, rules: Rules, now: datetime
) -> list[Received]:
    """Receives them again as they are. One that is still wrong stays and stops no other; what is gone is passed by."""
    received = []
    rows = [await get_kept_event(session, key, locked=True) for key in keys]
    for payload in await open_events(session, rows):
        if payload is None:
            continue
        read = read_cloud_event(payload, received_at=now)
        assert isinstance(read, Received), "what is kept has an identity"
        received.append(read)
    await receive_events(session, received, rules=rules, now=now)
    return received


async def open_history(session: AsyncSession, edits: Sequence[KeptEventEdit]) -> list[bytes | None]:
    """What events held before; None where it is gone with its customer's key."""
    return await open_kept(session, [(_field_of_edit(e.id), Kept(e.sealed, e.customer_id)) for e in edits])


async def _open(session: AsyncSession, kept: KeptEvent) -> bytes:
    """Raises KeptEventGone."""
    (payload,) = await open_events(session, [kept])
    if payload is None:
        raise KeptEventGone
    return payload


def _field_of_edit(edit_id: UUID) -> str:
    return f"kept_event_edit.sealed:{edit_id}"


def _is(key: KeptKey) -> tuple[Any, ...]:
    return (
        KeptEvent.source == key.source,
        KeptEvent.event_id == key.event_id,
        KeptEvent.fingerprint == key.fingerprint,
    )


_FORGET = text(
    "delete from kept_event_edit e where edited_at < :before and not exists"
    " (select from kept_event k where k.source = e.source and k.event_id = e.event_id) returning customer_id"
)


async def forget_edits(database: Database, clock: Clock) -> None:
    """Those of events that are kept no more, after a while."""
    async with database.transaction() as session:
        forgotten = await session.scalars(_FORGET, {"before": clock() - KEEP_EDITS})
        reach(session, forgotten, resource="kept_event_edit")
