"""Churn alerts: opened and closed as the days of their customers are scored, and as outcomes are recorded."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.scoring.domain.alerts import OUTCOME, REOPENING, Alert, follow, opens_on_open_day
from services.scoring.domain.scorecard import MOST_POINTS
from services.scoring.domain.scores import HeldReason, irrevocable_reasons
from services.scoring.models import ChurnAlert, CustomerScore, RetentionOutcome
from services.scoring.use_cases.arrays import date_array, is_among, uuid_array
from services.scoring.use_cases.due import Days, mark_due
from services.scoring.use_cases.reasons import stored, told
from services.scoring.use_cases.rules import Rules
from services.scoring.use_cases.windows import read_histories
from shared.events import Delivery
from shared.events.interaction import RetentionOutcomeRecorded
from shared.events.scoring import AlertClosure, AlertEnding, ChurnAlertClosed, ChurnAlertRaised
from shared.ids import derived_id
from shared.messaging.outbox import publish
from shared.scope import customer_scope


class Case(NamedTuple):
    """A customer whose days from `first_day` on were scored; `points` may be none at all.

    `before` are the points of the day before `first_day`. `reasons` tells those of a day. `open_days`
    are days after the scored ones on which something irrevocable happened.
    """

    customer_id: UUID
    first_day: int
    points: Sequence[int]
    before: int
    left: int
    currency: str
    reasons: Callable[[int], list[HeldReason]]
    open_days: Sequence[int] = ()

    def points_on(self, day: int) -> int:
        """Of a day that is open, what its irrevocable reasons are worth."""
        column = day - self.first_day
        if column < len(self.points):
            return self.points[column]
        return min(sum(reason.points for reason in self.reasons(day)), MOST_POINTS)


class Ending(NamedTuple):
    """When a manager recorded how an alert ended, and on which day that was."""

    at: datetime
    on: int


def alert_id_of(customer_id: UUID, day: int) -> UUID:
    """A customer has at most one alert of a day."""
    return derived_id(customer_id, f"churn alert of {date.fromordinal(day)}")


async def follow_alerts(
    session: AsyncSession, cases: Sequence[Case], rules: Rules, cause: Delivery[Any] | None
) -> None:
    """Brings the customers' alerts to what follows from their days. What was sent stays."""
    threshold = rules.levels.threshold
    known = await _alerts_of(session, [case.customer_id for case in cases])
    concerned = [
        case
        for case in cases
        if case.customer_id in known or case.open_days or max(case.points, default=0) >= threshold
    ]
    endings = await _endings_of(session, [case.customer_id for case in concerned])
    changes = _Changes(rules)
    again = Days()
    for case in concerned:
        rows = {row.raised_on.toordinal(): row for row in known.get(case.customer_id, ())}
        recorded = _by_day_raised(case, rows, endings.get(case.customer_id, {}))
        alerts = _follow(case, [_alert(row) for row in rows.values()], recorded, rules)
        changes.compare(case, rows, alerts, recorded)
        if case.points and case.points[-1] >= threshold:
            last_day = case.first_day + len(case.points) - 1
            if any(alert.closed == last_day and alert.closure in REOPENING for alert in alerts):
                again.touch(case.customer_id, date.fromordinal(last_day + 1))
    await changes.write(session)
    changes.publish(session, cause)
    await _look_again(session, again)


def _follow(case: Case, known: list[Alert], recorded: Mapping[int, Ending], rules: Rules) -> list[Alert]:
    alerts = follow(
        case.points,
        first_day=case.first_day,
        before=case.before,
        known=known,
        outcomes={day: ending.on for day, ending in recorded.items()},
        left=case.left,
        levels=rules.levels,
    )
    before = case.points[-1] if case.points else case.before
    for day in case.open_days:
        points = case.points_on(day)
        if opens_on_open_day(
            alerts, day, irrevocable_points=points, before=before, left=case.left, levels=rules.levels
        ):
            alerts.append(Alert(day))
    return alerts


def _by_day_raised(case: Case, rows: Iterable[int], endings: Mapping[UUID, Ending]) -> dict[int, Ending]:
    """Endings by the day on which their alert was, or may now be, raised."""
    if not endings:
        return {}
    days = {*rows, *range(case.first_day, case.first_day + len(case.points)), *case.open_days}
    by_day = {day: endings.get(alert_id_of(case.customer_id, day)) for day in days}
    return {day: ending for day, ending in by_day.items() if ending is not None}


def _alert(row: ChurnAlert) -> Alert:
    closed = row.closed_on.toordinal() if row.closed_on else None
    return Alert(row.raised_on.toordinal(), not row.is_historic, closed, row.closure)


async def _alerts_of(session: AsyncSession, customers: Sequence[UUID]) -> dict[UUID, list[ChurnAlert]]:
    rows = await session.scalars(
        select(ChurnAlert)
        .where(is_among(ChurnAlert.customer_id, customers))
        .order_by(ChurnAlert.customer_id, ChurnAlert.raised_on)
        .execution_options(populate_existing=True)
    )
    found: dict[UUID, list[ChurnAlert]] = defaultdict(list)
    for row in rows:
        found[row.customer_id].append(row)
    return found


async def _endings_of(session: AsyncSession, customers: Sequence[UUID]) -> dict[UUID, dict[UUID, Ending]]:
    """By customer and alert, the first outcome that was recorded."""
    if not customers:
        return {}
    rows = await session.scalars(
        select(RetentionOutcome)
        .where(is_among(RetentionOutcome.customer_id, customers))
        .order_by(RetentionOutcome.recorded_at, RetentionOutcome.outcome_id)
    )
    found: dict[UUID, dict[UUID, Ending]] = defaultdict(dict)
    for row in rows:
        found[row.customer_id].setdefault(row.alert_id, Ending(row.recorded_at, row.recorded_on.toordinal()))
    return found


_LOOK_AGAIN = text(
    "update customer_score s set due_on = least(s.due_on, w.day)"
    " from unnest(cast(:customers as uuid[]), cast(:days as date[])) as w (customer_id, day)"
    " where s.customer_id = w.customer_id"
)


async def _look_again(session: AsyncSession, days: Days) -> None:
    """A sent alert that closed stays closed; risk that a late event keeps high opens the next one a day later."""
    if days.first:
        await session.execute(
            _LOOK_AGAIN, {"customers": uuid_array(days.first), "days": date_array(days.first.values())}
        )


class _Change(NamedTuple):
    row: ChurnAlert
    alert: Alert
    ending: Ending | None


class _Changes:
    """What is other than it was, in the order in which it can be written: a customer has one open alert at most."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._withdrawn: list[ChurnAlert] = []
        self._ended: list[_Change] = []
        self._reopened: list[_Change] = []
        self._raised: list[ChurnAlert] = []

    def compare(
        self, case: Case, rows: Mapping[int, ChurnAlert], alerts: Sequence[Alert], recorded: Mapping[int, Ending]
    ) -> None:
        stays = {alert.raised for alert in alerts}
        self._withdrawn += [row for day, row in rows.items() if day not in stays]
        for alert in alerts:
            row = rows.get(alert.raised)
            if row is None:
                self._raised.append(self._new(case, alert, recorded))
                continue
            if row.is_historic and case.first_day <= alert.raised:
                self._weigh(row, case, alert.raised)
            if _alert(row) != alert:
                change = _Change(row, alert, recorded.get(alert.raised))
                (self._reopened if alert.is_open else self._ended).append(change)

    def _new(self, case: Case, alert: Alert, recorded: Mapping[int, Ending]) -> ChurnAlert:
        raised_on = date.fromordinal(alert.raised)
        row = ChurnAlert(
            alert_id=alert_id_of(case.customer_id, alert.raised),
            customer_id=case.customer_id,
            raised_on=raised_on,
            is_historic=not self._rules.is_news(raised_on),
            version=1,
        )
        self._weigh(row, case, alert.raised)
        self._end(_Change(row, alert, recorded.get(alert.raised)))
        return row

    @staticmethod
    def _weigh(row: ChurnAlert, case: Case, day: int) -> None:
        row.points = case.points_on(day)
        row.reasons = stored(case.reasons(day))
        row.currency = case.currency

    def _end(self, change: _Change) -> None:
        row, alert, ending = change
        row.closure = alert.closure
        row.closed_on = row.closed_at = None
        if alert.closed is not None:
            row.closed_on = date.fromordinal(alert.closed)
            by_outcome = ending is not None and alert.closure == OUTCOME
            row.closed_at = ending.at if ending and by_outcome else self._rules.end_of(row.closed_on)

    async def write(self, session: AsyncSession) -> None:
        for row in self._withdrawn:
            await session.delete(row)
        await session.flush()
        for changes in (self._ended, self._reopened):
            for change in changes:
                self._end(change)
                change.row.version += 1
            await session.flush()
        session.add_all(self._raised)
        await session.flush()

    def publish(self, session: AsyncSession, cause: Delivery[Any] | None) -> None:
        for row in self._withdrawn:
            if row.closed_on is None:
                self._publish_closed(session, row, AlertEnding.RECOVERY, self._rules.end_of(row.raised_on), cause)
        ended = [change.row for change in self._ended]
        raised = [*(change.row for change in self._reopened), *self._raised]
        for row in sorted([*ended, *raised], key=lambda row: row.raised_on):
            if row in raised:
                self._publish_raised(session, row, cause)
            if row.closure is not None and row.closed_at is not None:
                self._publish_closed(session, row, AlertEnding(row.closure), row.closed_at, cause)

    def _publish_raised(self, session: AsyncSession, row: ChurnAlert, cause: Delivery[Any] | None) -> None:
        event = ChurnAlertRaised(
            customer_id=row.customer_id,
            alert_id=row.alert_id,
            raised_on=row.raised_on,
            points=row.points,
            reasons=tuple(told(row.reasons, row.raised_on, row.currency)),
            is_historic=row.is_historic,
        )
        now = self._rules.clock()
        occurred_at = min(self._rules.end_of(row.raised_on), now)
        publish(session, event, cause=cause, step=f"{row.alert_id} raised", occurred_at=occurred_at)

    def _publish_closed(
        self, session: AsyncSession, row: ChurnAlert, ending: AlertEnding, at: datetime, cause: Delivery[Any] | None
    ) -> None:
        publish_closed(session, row, ending, at, cause, now=self._rules.clock())


def publish_closed(
    session: AsyncSession,
    row: ChurnAlert,
    ending: AlertEnding,
    at: datetime,
    cause: Delivery[Any] | None,
    *,
    now: datetime,
) -> None:
    restricted = ending is AlertEnding.RESTRICTION
    event = ChurnAlertClosed(
        customer_id=row.customer_id,
        alert_id=row.alert_id,
        closed_at=at,
        closure=AlertClosure.DEPARTURE if restricted else AlertClosure(ending),
        is_historic=row.is_historic,
        ending=ending if restricted else None,
    )
    publish(session, event, cause=cause, step=f"{row.alert_id} closed", occurred_at=min(at, now))


async def record_outcomes(
    session: AsyncSession, deliveries: Sequence[Delivery[RetentionOutcomeRecorded]], rules: Rules
) -> None:
    """Keeps how managers' efforts ended. What looks at the alerts next closes them."""
    events = sorted((delivery.event for delivery in deliveries), key=lambda event: event.outcome_id)
    days = Days()
    for event in events:
        days.touch(event.customer_id, rules.day_of(event.recorded_at))
    await mark_due(session, deliveries[0].partition, days.first)
    for event in events:
        await session.merge(
            RetentionOutcome(
                outcome_id=event.outcome_id,
                alert_id=event.alert_id,
                customer_id=event.customer_id,
                outcome=event.outcome,
                recorded_at=event.recorded_at,
                recorded_on=rules.day_of(event.recorded_at),
            )
        )
    await session.flush()


async def review_open_day(
    session: AsyncSession,
    last_closed: date | None,
    touched: Mapping[UUID, Sequence[date]],
    rules: Rules,
    cause: Delivery[Any],
) -> None:
    """What days that are not yet closed do to alerts: an outcome closes one, what cannot be taken back may open one.

    `touched` has for each customer the days on which something irrevocable happened; none for one with an outcome.
    """
    open_days = {customer_id: _open_days(days, last_closed, rules) for customer_id, days in touched.items()}
    customers = sorted(customer_id for customer_id, days in touched.items() if not days or open_days[customer_id])
    if not customers:
        return
    histories = dict(zip(customers, await read_histories(session, customers), strict=True))
    scores = await session.scalars(
        select(CustomerScore)
        .where(
            is_among(CustomerScore.customer_id, customers),
            CustomerScore.customer_id.not_in(select(customer_scope.c.customer_id).where(customer_scope.c.restricted)),
        )
        .execution_options(populate_existing=True)
    )
    cases = []
    for row in scores:
        is_behind = last_closed is not None and row.due_on is not None and row.due_on <= last_closed
        days = [] if is_behind else open_days[row.customer_id]
        first_day = last_closed or min(days, default=rules.day_of(rules.clock()))
        history = histories[row.customer_id]
        cases.append(
            Case(
                row.customer_id,
                first_day.toordinal() + (last_closed is not None),
                (),
                row.points,
                history.left,
                row.currency,
                partial(irrevocable_reasons, history),
                [day.toordinal() for day in days],
            )
        )
    await follow_alerts(session, cases, rules, cause)


def _open_days(days: Sequence[date], last_closed: date | None, rules: Rules) -> list[date]:
    """Today, if it is among the days and may alert.

    What is heard of an earlier day waits for that day's close: it is late, or history that is being loaded.
    """
    today = rules.open_day(last_closed)
    return [today] if today is not None and today in days else []
