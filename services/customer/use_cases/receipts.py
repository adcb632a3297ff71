"""What became of each event of the core: its receipt, and its bytes while it is held or parked.

A receipt is a row of its own, or of the ledger (`ledger_receipts`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import CoreEventNotFound
from services.customer.models import KeptEvent, ReceivedEvent
from services.customer.use_cases.kept_bytes import names_of, open_events, seal_events
from services.customer.use_cases.ledger_receipts import receipts_in_ledger
from services.customer.use_cases.receiving import (
    SAME_ID,
    SETTLED,
    Arrived,
    Outcome,
    Received,
    hashes_in,
    read_cloud_event,
)
from services.customer.use_cases.rows import ANY_ID, as_json
from services.customer.use_cases.transaction_ids import transaction_named_by
from shared.columns import texts
from shared.copying import copy_rows
from shared.sealing.kept import Kept

_STRENGTH = {Outcome.PARKED: 0, Outcome.DUPLICATE: 1, Outcome.HELD: 2, Outcome.APPLIED: 3}

_KNOWN = text(
    f"select event_id, fingerprint, outcome from received_event where source = :source and event_id {ANY_ID}"  # noqa: S608 - no value is in it
)
_RECEIPT = {"source": "text", "event_id": "text", "type": "text", "fingerprint": "int8", "outcome": "text"}
# A wrong event does not take the place of a right one that waits; mended ones do.
_CHANGE = text(
    "update received_event r set type = n.type, fingerprint = n.fingerprint, outcome = n.outcome"
    " from json_populate_recordset(cast(null as received_event), cast(:rows as json)) n"
    " where r.source = :source and r.event_id = n.event_id and (r.outcome = 'parked'"
    "   or r.outcome = 'held' and (n.outcome <> 'parked' or r.fingerprint = n.fingerprint))"
)
_FORGET = text(
    "delete from kept_event k using json_populate_recordset(cast(null as received_event), cast(:rows as json)) n"
    " where k.source = :source and k.event_id = n.event_id and k.pointer is distinct from :same_id"
    " and (n.outcome <> 'held' or k.fingerprint <> n.fingerprint)"
)
_KEEP = text(
    "insert into kept_event"
    " (source, event_id, fingerprint, waits_for, code, pointer, detail, customer_id, names, sealed)"
    " select n.source, n.event_id, n.fingerprint, n.waits_for, n.code, n.pointer, n.detail, n.customer_id,"
    "  array (select json_array_elements_text(n.names)), decode(n.base64, 'base64')"
    " from json_to_recordset(cast(:rows as json)) n (source text, event_id text, fingerprint bigint, waits_for text,"
    "   code text, pointer text, detail text, customer_id uuid, names json, base64 text)"
    " on conflict (source, event_id, fingerprint) do update"
    " set waits_for = excluded.waits_for, code = excluded.code, pointer = excluded.pointer, detail = excluded.detail,"
    "  customer_id = excluded.customer_id, sealed = excluded.sealed"
)


class _Receipt(msgspec.Struct):
    event_id: str
    type: str
    fingerprint: int
    outcome: Outcome


class Receipts:
    """The receipts of one source's events: those that were there, and those that there will be."""

    def __init__(self, arrived: Arrived, known: set[str]) -> None:
        self._arrived = arrived
        self._known = known

    @classmethod
    async def of(cls, session: AsyncSession, arrived: Arrived, *, were_held: bool) -> "Receipts":
        """Marks what came before under the same id; `were_held` says that all of them were until now.

        What was parked or held may come again, mended.
        """
        if were_held:
            return cls(arrived, {event.event_id for event in arrived.events})
        ids = [event.event_id for event in arrived.events]
        if arrived.remembered is not None:
            hashes = hashes_in(arrived.source, texts(ids))
            doubtful = arrived.remembered.events.doubtful(hashes)
            arrived.remembered.events.add(hashes)
            # Of those named by transactions the columns tell the filter nothing.
            ids = [id_ for id_, doubt in zip(ids, doubtful.tolist(), strict=True) if doubt or transaction_named_by(id_)]
        rows = (await session.execute(_KNOWN, {"source": arrived.source, "ids": as_json(ids)})).all() if ids else []
        in_ledger = await receipts_in_ledger(session, arrived.source, [event.event_id for event in arrived.events])
        settled = {event_id: receipt.fingerprint for event_id, receipt in in_ledger.items()}
        known = {*settled, *(row[0] for row in rows)}
        settled |= {event_id: fingerprint for event_id, fingerprint, outcome in rows if outcome in SETTLED}
        for event in arrived.events:
            if event.outcome is Outcome.APPLIED:
                if (before := settled.get(event.event_id)) is None:
                    settled[event.event_id] = event.fingerprint
                else:
                    event.repeats(before, SAME_ID)
        return cls(arrived, known)

    async def write(self, session: AsyncSession) -> None:
        """Notes the outcomes, and keeps what is held or parked."""
        source, receipts = self._arrived.source, _strongest(self._arrived.events)
        known = self._known
        rows = (
            (source, e.event_id, e.type, e.fingerprint, e.outcome.value)
            for e in receipts.values()
            if e.event_id not in known
        )
        await copy_rows(session, "received_event", _RECEIPT, rows)
        if again := [event for event_id, event in receipts.items() if event_id in known]:
            changed = [_Receipt(e.event_id, e.type, e.fingerprint, e.outcome) for e in again]
            await session.execute(_CHANGE, {"source": source, "rows": as_json(changed)})
            settled = [receipt for receipt in changed if receipt.outcome is not Outcome.PARKED]
            await session.execute(_FORGET, {"source": source, "rows": as_json(settled), "same_id": SAME_ID})
        kept = {
            (event.event_id, event.fingerprint): event
            for event in self._arrived.events
            if event.code and (event.pointer == SAME_ID or receipts[event.event_id].outcome not in SETTLED)
        }
        if kept:
            sealed = await seal_events(session, source, list(kept.values()))
            written = [_kept(event, how) for event, how in zip(kept.values(), sealed, strict=True) if how is not None]
            await session.execute(_KEEP, {"rows": as_json(written)})


def _strongest(events: Sequence[Received]) -> dict[str, Received]:
    """For each id the event that it stands for: the one that was applied, if any was."""
    strongest: dict[str, Received] = {}
    for event in events:
        other = strongest.setdefault(event.event_id, event)
        if other is not event and _STRENGTH[other.outcome] < _STRENGTH[event.outcome]:
            strongest[event.event_id] = event
    return strongest


def _kept(event: Received, kept: Kept) -> dict[str, str | int | bytes | UUID | list[str] | None]:
    return {
        "source": event.source,
        "event_id": event.event_id,
        "fingerprint": event.fingerprint,
        "waits_for": event.waits_for,
        "code": event.code,
        "pointer": event.pointer,
        "detail": event.detail,
        "customer_id": kept.customer_id,
        "names": names_of(event.data),
        "base64": kept.sealed,
    }


_WAITS = "(source = :source or waits_for like 'branch:%')"
"""A branch is the whole bank's, whoever tells of it; all else is of one source."""
_RELEASED = text(
    "select source, event_id, fingerprint, customer_id, sealed from kept_event"  # noqa: S608 - no value is in it
    f" where waits_for {ANY_ID} and {_WAITS} order by kept_at, source, event_id limit :most for update"
)
_LATER = text(
    "insert into held_release (waits_for, source)"  # noqa: S608 - no value is in it
    " select named, :source from json_array_elements_text(cast(:ids as json)) n (named)"
    f" where exists (select from kept_event where waits_for = named and {_WAITS})"
    " order by named on conflict do nothing"
)


async def release_held(session: AsyncSession, arrived: Arrived, now: datetime, most: int) -> list[Received]:
    """The held events that waited for what has arrived, up to `most`; the others are noted, to be released later."""
    if not arrived.brought:
        return []
    brought = {"source": arrived.source, "ids": as_json(arrived.brought)}
    rows = (await session.execute(_RELEASED, {**brought, "most": most + 1})).all()
    if len(rows) > most:
        await session.execute(_LATER, brought)
    return await _read_held(session, rows[:most], now)


async def _read_held(session: AsyncSession, rows: Sequence[Row[Any]], now: datetime) -> list[Received]:
    """Without those that are gone with their customer's key."""
    payloads = await open_events(session, rows)
    read = [read_cloud_event(payload, received_at=now) for payload in payloads if payload is not None]
    return [event for event in read if isinstance(event, Received)]


_DUE = text(
    "select waits_for, source from held_release where source = (select source from held_release limit 1)"
    " order by waits_for limit 1000 for update skip locked"
)
_WAITED = text(
    "select source, event_id, fingerprint, customer_id, sealed from kept_event"  # noqa: S608 - no value is in it
    f" where waits_for {ANY_ID} and {_WAITS} order by kept_at, source, event_id limit :most"
)
_DONE = text(
    "delete from held_release r where source = :source"  # noqa: S608 - no value is in it
    f" and waits_for {ANY_ID} and (:stuck or not exists (select from kept_event k"
    "  where k.waits_for = r.waits_for and (k.source = :source or k.waits_for like 'branch:%')))"
)


@dataclass(frozen=True)
class Due:
    """What has arrived and is still waited for, and some of the events that wait."""

    source: str
    arrived: Sequence[str]
    events: Sequence[Received]


async def due_releases(session: AsyncSession, now: datetime, most: int) -> Due | None:
    """What another transaction left to be released; nobody else takes the same."""
    rows = (await session.execute(_DUE)).all()
    if not rows:
        return None
    source, arrived = rows[0].source, [row.waits_for for row in rows]
    # Not locked: whoever applies an event locks its customers first.
    held = await session.execute(_WAITED, {"source": source, "ids": as_json(arrived), "most": most})
    return Due(source, arrived, await _read_held(session, held.all(), now))


async def forget_due(session: AsyncSession, due: Due) -> None:
    """Of what is due, that for which nothing waits any more."""
    stuck = all(event.outcome is Outcome.HELD and event.waits_for in due.arrived for event in due.events)
    await session.execute(_DONE, {"source": due.source, "ids": as_json(due.arrived), "stuck": stuck})


@dataclass(frozen=True)
class CoreEvent:
    """What became of an event, and why it is kept if it is."""

    receipt: ReceivedEvent
    kept: Sequence[KeptEvent]


async def get_core_event(session: AsyncSession, source: str, event_id: str) -> CoreEvent:
    """Raises CoreEventNotFound."""
    receipt = await session.get(ReceivedEvent, (source, event_id))
    if receipt is None:
        receipt = (await receipts_in_ledger(session, source, [event_id])).get(event_id)
    if receipt is None:
        raise CoreEventNotFound
    kept = await session.scalars(
        select(KeptEvent).where(KeptEvent.source == source, KeptEvent.event_id == event_id).order_by(KeptEvent.kept_at)
    )
    return CoreEvent(receipt, kept.all())
