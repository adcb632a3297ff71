"""The exactly-once check: ledger, aggregates and outbox come to what the input comes to, up to the offsets."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from bench.contender import ACTIVITY_TOPIC, CustomerActivity, Setup
from bench.input import Day, Posted, Totals, fold, up_to

_LEDGER = (
    "select customer_id, booked_on, count(*), coalesce(-sum(amount_minor) filter (where amount_minor < 0), 0)::bigint,"
    " coalesce(sum(amount_minor) filter (where amount_minor > 0), 0)::bigint from posting group by 1, 2"
)
_AGGREGATES = "select customer_id, day, transaction_count, debit_minor, credit_minor from daily_aggregate"
_OUTBOX = "select event_id, topic, key, payload from outbox"
_OFFSETS = "select partition, next_offset from consumer_offset where topic = %s"


class NotExactlyOnce(Exception):
    """A contender lost something, or counted it twice."""


def check_exactly_once(setup: Setup, placed: Sequence[Sequence[Posted]]) -> None:
    """Raises NotExactlyOnce, saying where and by how much."""
    with psycopg.connect(setup.database) as connection:
        offsets: dict[int, int] = dict(connection.execute(_OFFSETS, [setup.topic]).fetchall())
    check_totals(setup.database, fold(up_to(placed, offsets), setup.customers))


def check_totals(database: str, expected: Mapping[Day, Totals]) -> None:
    """Raises NotExactlyOnce unless ledger, aggregates and outbox each come to what is expected."""
    with psycopg.connect(database) as connection:
        compare("the ledger", _totals(connection.execute(_LEDGER)), expected)
        compare("the aggregates", _totals(connection.execute(_AGGREGATES)), expected)
        compare("the outbox", _told(connection.execute(_OUTBOX)), expected)


def _totals(rows: Iterable[tuple[Any, ...]]) -> dict[Day, Totals]:
    return {(customer_id, day): (count, debit, credit) for customer_id, day, count, debit, credit in rows}


def _told(rows: Iterable[tuple[Any, ...]]) -> dict[Day, Totals]:
    read = msgspec.json.Decoder(CustomerActivity).decode
    totals: dict[Day, list[int]] = defaultdict(lambda: [0, 0, 0])
    ids: set[UUID] = set()
    for event_id, topic, key, payload in rows:
        activity = read(payload)
        if event_id in ids or topic != ACTIVITY_TOPIC or key != str(activity.customer_id):
            raise NotExactlyOnce(f"outbox row {event_id} has another's id, topic or key")
        ids.add(event_id)
        for day in activity.days:
            total = totals[activity.customer_id, day.day]
            total[0] += day.transaction_count
            total[1] += day.debit_minor
            total[2] += day.credit_minor
    return {day: (count, debit, credit) for day, (count, debit, credit) in totals.items()}


def compare(what: str, found: Mapping[Day, Totals], expected: Mapping[Day, Totals]) -> None:
    if found == expected:
        return
    counts = [sum(count for count, _, _ in totals.values()) for totals in (found, expected)]
    days = sum(found.get(day) != expected.get(day) for day in found.keys() | expected.keys())
    raise NotExactlyOnce(f"{what}: {counts[0]} transactions where {counts[1]} are right; {days} days differ")
