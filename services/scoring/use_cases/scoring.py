"""Scoring: the customers whose score can have changed, on all the days that they are due for, at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.scoring.domain.features import LOOKBACK, measure
from services.scoring.domain.scorecard import band_of
from services.scoring.domain.scores import HeldReason, Scores, irrevocable_reasons, next_change, score
from services.scoring.use_cases.alerts import Case, follow_alerts
from services.scoring.use_cases.arrays import date_array, uuid_array
from services.scoring.use_cases.facts import IRREVOCABLE
from services.scoring.use_cases.reasons import stored
from services.scoring.use_cases.rules import Rules
from services.scoring.use_cases.windows import Known, read_known
from shared.audit.unattended import reach
from shared.database import Database
from shared.events import Delivery, interaction
from shared.events.customer import DayClosed, DayReported
from shared.events.scoring import RiskBand, RiskBandChanged
from shared.messaging.outbox import publish

HORIZON = 45
"""Days ahead for which a score is foretold, as it will be without any news; after them it is looked at again."""
CELLS = 400_000
"""Days of customers that are in memory at once, at some 300 bytes each."""
MOST_CUSTOMERS, MOST_DAYS = 5_000, 300_000
"""What one transaction scores: customers, and days over all of them. The rest stays due."""

Close = DayClosed | DayReported | interaction.DayClosed
TOPICS = sorted(event_type.TOPIC for event_type in (DayClosed, DayReported, interaction.DayClosed))
"""What brings a day's facts. A day is complete when each of them has closed it: until then some may be on their way."""

# Two topics of a partition may close the same day at the same moment: one of them has to see the other's mark.
_ONE_AT_A_TIME = text("select pg_advisory_xact_lock(hashtextextended('day marks', :partition))")
_NO_CLOSE_MEANWHILE = text("select pg_advisory_xact_lock_shared(hashtextextended('day marks', :partition))")
_MARK = text(
    "insert into day_mark as m (partition, topic, first_closed_on, last_closed_on)"
    " values (:partition, :topic, :first, :last)"
    " on conflict (partition, topic) do update"
    " set first_closed_on = least(m.first_closed_on, excluded.first_closed_on),"
    " last_closed_on = greatest(m.last_closed_on, excluded.last_closed_on)"
)
_MARKS = text(
    "select max(first_closed_on) as first, min(last_closed_on) as last from day_mark"
    " where partition = :partition and topic = any(:topics) having count(*) = cardinality(cast(:topics as text[]))"
)
_CLOSE = text(
    "insert into business_day as b (partition, first_closed_on, last_closed_on) values (:partition, :first, :last)"
    " on conflict (partition) do update set first_closed_on = least(b.first_closed_on, excluded.first_closed_on),"
    " last_closed_on = greatest(b.last_closed_on, excluded.last_closed_on), moved_at = now()"
)
_CLOSED = text("select first_closed_on, last_closed_on from business_day where partition = :partition for update")
_LAST_CLOSED = text("select last_closed_on from business_day where partition = :partition")
_ALL_DUE = text("update customer_score set due_on = least(due_on, cast(:day as date)) where partition = :partition")
# Who is locked was heard of meanwhile, and is looked at by the delivery that waits to see this day closed.
_DUE_TODAY = text(
    "update customer_score s set due_on = cast(:last as date) from (select customer_id from customer_score c"
    " where c.partition = :partition and c.due_on > :last and c.due_on <= :today and exists"
    " (select from customer_fact f"
    "  where f.customer_id = c.customer_id and f.began_on = :today and f.kind = any(:kinds))"
    " for update skip locked) w where s.customer_id = w.customer_id"
)
_DUE = text(
    "select s.customer_id, greatest(s.due_on, b.first_closed_on) as due_on, s.told_band,"
    " b.first_closed_on, b.last_closed_on"
    " from customer_score s join business_day b on b.partition = s.partition"
    " where s.partition = :partition and s.due_on <= b.last_closed_on"
    " and not exists (select from customer_scope c where c.customer_id = s.customer_id and c.restricted)"
    " order by s.due_on, s.customer_id limit :most for update of s skip locked"
)


class DayToCome(Exception):
    """A day cannot be closed before it is there. To score all days until then would take for ever."""


async def close_days(session: AsyncSession, deliveries: Sequence[Delivery[Close]], rules: Rules) -> None:
    """Notes the days that a topic closed, and scores the customers who are due on those that are complete.

    Unless it is history that is being loaded. When the bank has caught up, what was heard of today meanwhile may alert.
    """
    partition, topic = deliveries[0].partition, deliveries[0].event.TOPIC
    days = [delivery.event.business_date for delivery in deliveries]
    if max(days) > rules.day_of(rules.clock()) + timedelta(days=1):
        raise DayToCome(max(days))
    await session.execute(_ONE_AT_A_TIME, {"partition": partition})
    mark = {"partition": partition, "topic": topic, "first": min(days), "last": max(days)}
    await session.execute(_MARK, mark)
    complete = (await session.execute(_MARKS, {"partition": partition, "topics": TOPICS})).one_or_none()
    if complete is None or complete.last < complete.first:
        return
    before = (await session.execute(_CLOSED, {"partition": partition})).one_or_none()
    await session.execute(_CLOSE, {"partition": partition, "first": complete.first, "last": complete.last})
    if before is not None and complete.first < before.first_closed_on:
        await session.execute(_ALL_DUE, {"partition": partition, "day": complete.first})
    today = rules.open_day(complete.last)
    if today is not None and before is not None and rules.open_day(before.last_closed_on) is None:
        again = {"partition": partition, "last": complete.last, "today": today, "kinds": sorted(IRREVOCABLE)}
        await session.execute(_DUE_TODAY, again)
    if rules.is_news(complete.last):
        await score_due(session, partition, rules, deliveries[-1])


async def score_news(session: AsyncSession, partition: int, rules: Rules, cause: Delivery[Any]) -> date | None:
    """Scores the customers who are due if the partition has come to the present; returns its last closed day."""
    last: date | None = await session.scalar(_LAST_CLOSED, {"partition": partition})
    if last is not None and rules.is_news(last):
        await score_due(session, partition, rules, cause)
    return last


async def last_closed_by_now(session: AsyncSession, partition: int) -> date | None:
    """The partition's last closed day, which stays so for this transaction: waits for who is closing others."""
    await session.execute(_NO_CLOSE_MEANWHILE, {"partition": partition})
    last: date | None = await session.scalar(_LAST_CLOSED, {"partition": partition})
    return last


async def score_backlog(database: Database, rules: Rules) -> None:
    """Scores whom no delivery scored: after a history was loaded, or when too many were due at once."""
    async with database.transaction() as session:
        partitions = [(row.partition, row.last_closed_on) for row in await session.execute(_BACKLOG)]
    for partition, last in partitions:
        paused = timedelta(0) if rules.is_news(last) else timedelta(seconds=rules.load_pause_seconds)
        scored = 1
        while scored:
            async with database.transaction() as session:
                is_quiet = await session.scalar(_IS_QUIET, {"partition": partition, "pause": paused})
                scored = await score_due(session, partition, rules, None) if is_quiet else 0


_BACKLOG = text(
    "select b.partition, b.last_closed_on from business_day b where exists"
    " (select 1 from customer_score s where s.partition = b.partition and s.due_on <= b.last_closed_on"
    "  and not exists (select from customer_scope c where c.customer_id = s.customer_id and c.restricted))"
)
_IS_QUIET = text("select moved_at <= now() - cast(:pause as interval) from business_day where partition = :partition")


async def score_due(session: AsyncSession, partition: int, rules: Rules, cause: Delivery[Any] | None) -> int:
    """Scores customers of the partition who are due, for every day from then to the last closed one.

    Returns how many it scored: not all when there are very many, and none whom another transaction is working on.
    """
    rows = (await session.execute(_DUE, {"partition": partition, "most": MOST_CUSTOMERS})).all()
    some: list[Row[Any]] = []
    days = 0
    for row in rows:
        days += (row.last_closed_on - row.due_on).days + 1
        if some and days > MOST_DAYS:
            break
        some.append(row)
    for together in _in_pieces(some):
        await _score(session, together, rules, cause)
    reach(session, [row.customer_id for row in some])
    return len(some)


def _in_pieces(rows: Sequence[Row[Any]]) -> Iterator[Sequence[Row[Any]]]:
    """As many customers at once as fit into memory; those who are due from the earliest day on come first."""
    at = 0
    while at < len(rows):
        width = (rows[at].last_closed_on - rows[at].due_on).days + LOOKBACK + HORIZON
        many = max(1, CELLS // width)
        yield rows[at : at + many]
        at += many


class Change(NamedTuple):
    """A row of `score_change`."""

    customer_id: UUID
    scored_on: date
    points: int
    band: str
    reasons: str
    currency: str


@dataclass(frozen=True)
class _Scored:
    rows: Sequence[Row[Any]]
    known: Known
    scores: Scores
    last_day: int

    def start(self, customer: int) -> int:
        due: date = self.rows[customer].due_on
        return due.toordinal()


async def _score(session: AsyncSession, rows: Sequence[Row[Any]], rules: Rules, cause: Delivery[Any] | None) -> None:
    scored = await _score_days(session, rows, rules)
    changes = [change for customer in range(len(rows)) for change in _changes(scored, customer)]
    await _write(session, scored, changes, cause)
    today = rules.open_day(date.fromordinal(scored.last_day))
    await follow_alerts(session, [_case(scored, customer, today) for customer in range(len(rows))], rules, cause)


async def _score_days(session: AsyncSession, rows: Sequence[Row[Any]], rules: Rules) -> _Scored:
    """Scores from the day before the first that is due, to have what it changes from, to as far as is foretold.

    What is already known of days that are still open is looked at too: those customers are due on these days.
    """
    first_day = min(row.due_on for row in rows).toordinal() - 1
    last_day = rows[0].last_closed_on.toordinal()
    customers = [row.customer_id for row in rows]
    known = await read_known(session, customers, first_day, last_day + HORIZON, rules.home_currency)
    features = measure(
        known.days,
        customer_of=known.customer_of,
        counts_balance=known.counts_balance,
        customers=len(rows),
        first_day=first_day,
        last_day=last_day + HORIZON,
    )
    scores = score(
        features,
        known.histories,
        material_minor=rules.material_minor,
        scored_from=rows[0].first_closed_on.toordinal(),
    )
    return _Scored(rows, known, scores, last_day)


def _changes(scored: _Scored, customer: int) -> list[Change]:
    found = []
    for day in scored.scores.changes(customer, scored.start(customer), scored.last_day):
        points = int(scored.scores.points[customer, day - scored.scores.first_day])
        found.append(
            Change(
                scored.rows[customer].customer_id,
                date.fromordinal(day),
                points,
                band_of(points),
                msgspec.json.encode(stored(scored.scores.reasons(customer, day))).decode(),
                scored.known.currencies[customer],
            )
        )
    return found


_FORGET = text(
    "delete from score_change c using unnest(cast(:customers as uuid[]), cast(:starts as date[])) w (customer_id, day)"
    " where c.customer_id = w.customer_id and c.scored_on >= w.day"
)
_WRITE = text(
    "insert into score_change (customer_id, scored_on, points, band, reasons, currency)"
    " select c, d, p, b, cast(r as jsonb), u from unnest(cast(:customer_id as uuid[]), cast(:scored_on as date[]),"
    " cast(:points as smallint[]), cast(:band as text[]), cast(:reasons as text[]), cast(:currency as text[]))"
    " as w (c, d, p, b, r, u)"
)
# A score is what the last change made it.
_SETTLE = text(
    "update customer_score s set due_on = w.due_on, points = coalesce(c.points, 0), band = coalesce(c.band, 'low'),"
    " reasons = coalesce(c.reasons, '[]'), since = c.scored_on, currency = w.currency,"
    " told_band = coalesce(c.band, 'low'),"
    " version = s.version + cast((s.since, s.reasons) is distinct from (c.scored_on, coalesce(c.reasons, '[]')) as int)"
    " from unnest(cast(:customers as uuid[]), cast(:due as date[]), cast(:currencies as text[]))"
    " as w (customer_id, due_on, currency)"
    " left join lateral (select * from score_change c where c.customer_id = w.customer_id"
    "   order by c.scored_on desc limit 1) c on true"
    " where s.customer_id = w.customer_id returning s.customer_id, s.points, s.band"
)


async def _write(
    session: AsyncSession, scored: _Scored, changes: Sequence[Change], cause: Delivery[Any] | None
) -> None:
    """Stores what changed and when to look again, and tells of other bands."""
    ids = uuid_array(row.customer_id for row in scored.rows)
    await session.execute(_FORGET, {"customers": ids, "starts": date_array(row.due_on for row in scored.rows)})
    if changes:
        await session.execute(
            _WRITE,
            {
                "customer_id": uuid_array(change.customer_id for change in changes),
                "scored_on": date_array(change.scored_on for change in changes),
                "points": [change.points for change in changes],
                "band": [change.band for change in changes],
                "reasons": [change.reasons for change in changes],
                "currency": [change.currency for change in changes],
            },
        )
    due = [next_change(scored.scores, customer, scored.last_day) for customer in range(len(scored.rows))]
    now = await session.execute(
        _SETTLE,
        {
            "customers": ids,
            "due": date_array(None if day is None else date.fromordinal(day) for day in due),
            "currencies": scored.known.currencies,
        },
    )
    told = {row.customer_id: row.told_band for row in scored.rows}
    scored_on = date.fromordinal(scored.last_day)
    for row in now:
        if row.band != told[row.customer_id]:
            event = RiskBandChanged(
                customer_id=row.customer_id, scored_on=scored_on, points=row.points, band=RiskBand(row.band)
            )
            publish(session, event, cause=cause, step=f"{row.customer_id} {scored_on} band")


def _case(scored: _Scored, customer: int, today: date | None) -> Case:
    """What alerts need to know of a customer; `today` if it may alert before its close."""
    scores, start = scored.scores, scored.start(customer)
    history = scored.known.histories[customer]
    column = start - scores.first_day
    points = scores.points[customer, column : scored.last_day - scores.first_day + 1]
    open_day = 0 if today is None else today.toordinal()
    return Case(
        scored.rows[customer].customer_id,
        start,
        points.tolist(),
        int(scores.points[customer, column - 1]),
        history.left,
        scored.known.currencies[customer],
        partial(_reasons, scored, customer),
        [open_day] if any(fact.began == open_day and fact.kind in IRREVOCABLE for fact in history.facts) else [],
    )


def _reasons(scored: _Scored, customer: int, day: int) -> list[HeldReason]:
    """The reasons of a day; of one that is open, those that it may alert for."""
    if day > scored.last_day:
        return irrevocable_reasons(scored.known.histories[customer], day)
    return scored.scores.reasons(customer, day)
