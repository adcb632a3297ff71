"""Receiving the core's events: each is applied, held, parked or known already, and its sender can ask which."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.errors import CoreEventNotFound
from services.customer.models import KeptEvent, ReceivedEvent
from services.customer.use_cases.accounts import record_accounts
from services.customer.use_cases.branches import record_branches, record_managers
from services.customer.use_cases.business_days import close_business_days
from services.customer.use_cases.parties import record_parties
from services.customer.use_cases.receiving import Arrivals, Outcome, Received, any_of, by_source, read_cloud_event
from services.customer.use_cases.reported_facts import report_facts
from services.customer.use_cases.transactions import post_transactions
from shared.copying import copy_rows
from shared.events.corebanking import AccountRecorded


@dataclass(frozen=True)
class Rules:
    """`partitions` is how many `customer.transactions` has: each is told of a closed day."""

    partitions: int
    tolerance_minor: int


async def receive_events(session: AsyncSession, received: Sequence[Received], *, rules: Rules, now: datetime) -> None:
    """Applies what can be applied and notes the outcome of each, on `received` and in the database.

    The order within `received` does not matter: what an event names is applied before it, and state
    has revisions.
    """
    known = await _recognise(session, received)
    while received:
        await _lock_customers(session, received)
        arrivals = Arrivals()
        await record_branches(session, received, arrivals)
        await record_managers(session, received)
        await record_parties(session, received, arrivals)
        await record_accounts(session, received, arrivals)
        await post_transactions(session, received, arrivals)
        await report_facts(session, received)
        await close_business_days(session, received, partitions=rules.partitions, tolerance_minor=rules.tolerance_minor)
        await _write_receipts(session, received, known)
        received = await _awaited(session, arrivals, now)
        known |= {event.identity for event in received}


async def _recognise(session: AsyncSession, received: Sequence[Received]) -> set[tuple[str, str]]:
    """Marks what came before under the same id, and returns which ids did.

    What was parked or held then may come again, mended.
    """
    known: set[tuple[str, str]] = set()
    settled: dict[tuple[str, str], int] = {}
    for source, event_ids in by_source(event.identity for event in received).items():
        rows = await session.execute(
            select(ReceivedEvent.event_id, ReceivedEvent.fingerprint, ReceivedEvent.outcome).where(
                ReceivedEvent.source == source, ReceivedEvent.event_id == any_of(event_ids)
            )
        )
        for event_id, fingerprint, outcome in rows:
            known.add((source, event_id))
            if outcome in (Outcome.APPLIED, Outcome.DUPLICATE):
                settled[source, event_id] = fingerprint
    for event in received:
        if event.outcome is not Outcome.APPLIED:
            continue
        if event.identity in settled:
            event.repeats(settled[event.identity])
        else:
            settled[event.identity] = event.fingerprint
    return known


_LOCK_CUSTOMERS = text(
    "select from customer where customer_id in ("
    "  select customer_id from customer where source = :source and party_id = any(:parties)"
    "  union all"
    "  select customer_id from account where source = :source and core_account_id = any(:accounts))"
    " order by customer_id for no key update"
)


async def _lock_customers(session: AsyncSession, received: Sequence[Received]) -> None:
    """Locks every customer whom the events are about, in one order, before anything else of theirs is touched.

    So a customer's events leave in the order in which they became true, and two transactions wait
    for each other in one direction only.
    """
    applicable = [event for event in received if event.outcome is Outcome.APPLIED]
    for source in sorted({event.source for event in applicable}):
        events = [event.event for event in applicable if event.source == source]
        parties = {getattr(event, "party_id", "") for event in events}
        parties |= {p.party_id for event in events if isinstance(event, AccountRecorded) for p in event.parties}
        accounts = {getattr(event, "account_id", "") for event in events}
        await session.execute(
            _LOCK_CUSTOMERS, {"source": source, "parties": sorted(parties), "accounts": sorted(accounts)}
        )


_RECEIPTS = {"source": "text", "event_id": "text", "type": "text", "fingerprint": "int8", "outcome": "text"}
_CHANGE_RECEIPTS = text(
    "update received_event r set type = n.type, fingerprint = n.fingerprint, outcome = n.outcome"
    " from unnest(cast(:source as text[]), cast(:event_id as text[]), cast(:type as text[]),"
    " cast(:fingerprint as bigint[]), cast(:outcome as text[])) as n (source, event_id, type, fingerprint, outcome)"
    " where r.source = n.source and r.event_id = n.event_id and r.outcome in ('parked', 'held')"
)
_FORGET_KEPT = text(
    "delete from kept_event using unnest(cast(:source as text[]), cast(:event_id as text[])) as done (source, event_id)"
    " where kept_event.source = done.source and kept_event.event_id = done.event_id"
)
_KEEP = text(
    "insert into kept_event (source, event_id, fingerprint, waits_for, code, pointer, detail, payload)"
    " select * from unnest(cast(:source as text[]), cast(:event_id as text[]), cast(:fingerprint as bigint[]),"
    " cast(:waits_for as text[]), cast(:code as text[]), cast(:pointer as text[]), cast(:detail as text[]),"
    " cast(:payload as bytea[]))"
    " on conflict (source, event_id, fingerprint) do update"
    " set waits_for = excluded.waits_for, code = excluded.code, pointer = excluded.pointer, detail = excluded.detail"
)


async def _write_receipts(session: AsyncSession, received: Sequence[Received], known: set[tuple[str, str]]) -> None:
    receipts = {event.identity: event for event in reversed(received)}
    new = [event for identity, event in receipts.items() if identity not in known]
    rows = ((e.source, e.event_id, e.type, e.fingerprint, str(e.outcome)) for e in new)
    await copy_rows(session, "received_event", _RECEIPTS, rows)
    if again := [event for identity, event in receipts.items() if identity in known]:
        await session.execute(_CHANGE_RECEIPTS, _columns(again, *_RECEIPTS))
        applied = [event for event in again if event.outcome is Outcome.APPLIED]
        await session.execute(_FORGET_KEPT, _columns(applied, "source", "event_id"))
    known |= receipts.keys()
    kept = {(*event.identity, event.fingerprint): event for event in received if event.code}
    if kept:
        fields = ("source", "event_id", "fingerprint", "waits_for", "code", "pointer", "detail", "payload")
        await session.execute(_KEEP, _columns(kept.values(), *fields))


def _columns(events: Iterable[Received], *fields: str) -> dict[str, list[Any]]:
    rows = list(events)
    return {field: [getattr(event, field) for event in rows] for field in fields}


async def _awaited(session: AsyncSession, arrivals: Arrivals, now: datetime) -> list[Received]:
    """The held events that waited for what has arrived."""
    if not arrivals.keys:
        return []
    names = sorted({name for _source, name in arrivals.keys})
    rows = await session.execute(
        select(KeptEvent.source, KeptEvent.waits_for, KeptEvent.payload)
        .where(KeptEvent.waits_for == any_of(names))
        .order_by(KeptEvent.kept_at)
        .with_for_update()
    )
    payloads = [row.payload for row in rows if (row.source, row.waits_for) in arrivals.keys]
    read = [read_cloud_event(payload, received_at=now) for payload in payloads]
    return [event for event in read if isinstance(event, Received)]


@dataclass(frozen=True)
class CoreEvent:
    """What became of an event, and why it is kept if it is."""

    receipt: ReceivedEvent
    kept: Sequence[KeptEvent]


async def get_core_event(session: AsyncSession, source: str, event_id: str) -> CoreEvent:
    """Raises CoreEventNotFound."""
    receipt = await session.get(ReceivedEvent, (source, event_id))
    if receipt is None:
        raise CoreEventNotFound
    kept = await session.scalars(
        select(KeptEvent).where(KeptEvent.source == source, KeptEvent.event_id == event_id).order_by(KeptEvent.kept_at)
    )
    return CoreEvent(receipt, kept.all())
