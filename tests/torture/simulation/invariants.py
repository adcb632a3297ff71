"""What an interleaving must have come to, once everything is delivered."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple
from uuid import UUID

from shared.events import decode
from shared.events.customer import SurveyReported
from shared.messaging.records import TopicPartition, headers_of, read_event
from tests.torture.simulation.log import SimulatedLog
from tests.torture.simulation.replica import EVENTS, RAW, fails
from tests.torture.simulation.store import OutboxRow, Store


class Violation(NamedTuple):
    kind: str
    detail: str


def violations(
    store: Store, log: SimulatedLog, customers: Collection[UUID], undecodable: Collection[tuple[TopicPartition, int]]
) -> Iterator[Violation]:
    """`customers` are those whose row is locked by whoever publishes about them."""
    yield from _not_once(store, log)
    yield from _out_of_order(store, customers)
    yield from _passed_by(store, log)
    yield from _parked_wrongly(store, log, undecodable)


def _not_once(store: Store, log: SimulatedLog) -> Iterator[Violation]:
    happened = Counter(effect.event_id or (effect.at, effect.offset) for effect in store.effects)
    expected: set[Any] = {row.event_id for _, row in store.written.values() if not _is_poison(row)}
    for at, records in log.records.items():
        if at.topic == RAW:
            expected |= {(at, record.offset) for record in records}
    for what in sorted(expected - happened.keys(), key=str):
        yield Violation("lost", str(what))
    for what, times in happened.items():
        if times > 1:
            yield Violation("doubled", f"{what} {times} times")


def _out_of_order(store: Store, customers: Collection[UUID]) -> Iterator[Violation]:
    last: dict[Any, int] = defaultdict(int)
    for effect in store.effects:
        key: Any
        if effect.event_id is None:
            key, place = (effect.at, effect.offset + 1)
        elif effect.customer in customers:
            key, place = (effect.customer, effect.revision)
        else:
            continue
        if place < last[key]:
            yield Violation("out_of_order", f"{key}: {place} after {last[key]}")
        last[key] = max(last[key], place)


def _passed_by(store: Store, log: SimulatedLog) -> Iterator[Violation]:
    """An event in the log before one that was written before it, by a transaction that began to write before its own.

    That holds without any lock: a day's close does not pass what was being written when it began.
    """
    written = {str(row.event_id): (row.id, xid) for xid, row in store.written.values()}
    for at, records in log.records.items():
        seen: dict[str, tuple[int, int]] = {}
        for record in records:
            event_id = headers_of(record).get("ce_id", b"").decode()
            if event_id not in written or event_id in seen:
                continue
            row_id, xid = written[event_id]
            if any(other_id > row_id and other_xid > xid for other_id, other_xid in seen.values()):
                yield Violation("passed_by", f"row {row_id} of transaction {xid} in {at}")
            seen[event_id] = (row_id, xid)


def _parked_wrongly(
    store: Store, log: SimulatedLog, undecodable: Collection[tuple[TopicPartition, int]]
) -> Iterator[Violation]:
    expected = set(undecodable)
    for at, records in log.records.items():
        for record in records:
            if at.topic == EVENTS and (at, record.offset) not in expected:
                event = read_event(record).event
                if isinstance(event, SurveyReported) and fails(event):
                    expected.add((at, record.offset))
    letters = Counter(store.letters)
    if letters != Counter(expected):
        yield Violation("parked", f"{sorted(letters.items())} instead of {sorted(expected)}")


def _is_poison(row: OutboxRow) -> bool:
    return row.type == SurveyReported.TYPE and fails(decode(SurveyReported, row.payload))
