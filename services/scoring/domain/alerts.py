"""The life of churn alerts: a fold over the days of one customer.

An alert opens when risk crosses the threshold from below, once. It closes when a manager records how
it ended, when risk has fallen to the recovery level, or when the customer leaves. There is never a
second one beside an open one, nor on the day on which one closed; after an outcome, risk has to go
below the threshold before it can cross it again.

What follows from the days is decided anew whenever a day is scored anew. What was sent is not: a sent
alert stays raised, and what closed a sent alert stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

OUTCOME, RECOVERY, DEPARTURE, RESTRICTION = "outcome", "recovery", "departure", "restriction"
REOPENING = frozenset({RECOVERY, RESTRICTION})
"""After which risk that is high opens an alert again, though it has not been low between."""


@dataclass(frozen=True)
class Alert:
    """Days are ordinals. A customer has at most one alert of a day, so the day is its identity."""

    raised: int
    is_sent: bool = False
    closed: int | None = None
    closure: str | None = None

    @property
    def is_open(self) -> bool:
        return self.closed is None

    def close(self, day: int, closure: str) -> "Alert":
        return replace(self, closed=day, closure=closure)


@dataclass(frozen=True)
class Levels:
    threshold: int
    recovery: int


def follow(
    points: Sequence[int],
    *,
    first_day: int,
    before: int,
    known: Sequence[Alert],
    outcomes: Mapping[int, int],
    left: int,
    levels: Levels,
) -> list[Alert]:
    """The customer's alerts after the days from `first_day` on, ordered by the day raised.

    `points` has each day's score, `before` is the one of the day before. `known` are the alerts there
    are; those raised from `first_day` on that were not sent count for nothing. `outcomes` maps the day an alert was
    raised to the day its outcome was recorded.
    """
    earlier = [alert for alert in known if alert.raised < first_day]
    sent = {alert.raised: alert for alert in known if alert.raised >= first_day and alert.is_sent}
    settled = [alert for alert in earlier if alert.closed is not None and alert.closed < first_day]
    standing = next((alert for alert in earlier if alert.closed is None or alert.closed >= first_day), None)
    current = _undecided(standing) if standing else None
    below = before < levels.threshold or any(
        alert.closed == first_day - 1 and alert.closure in REOPENING for alert in settled
    )
    closed_on = max((alert.closed for alert in settled if alert.closed is not None), default=None)

    for day, level in enumerate(points, start=first_day):
        told = sent.pop(day, None)
        if told is not None:
            current, superseded = _beside(current, told)
            settled += superseded
        elif current is None and level >= levels.threshold and below and day < left and closed_on != day:
            current = Alert(day)
        below = level < levels.threshold
        if current is not None:
            ended = _ended(current, day, level, outcomes, left, levels)
            if ended is not None:
                settled.append(ended)
                current, closed_on = None, day
                below = below or ended.closure in REOPENING
    for day in sorted(sent):
        current, superseded = _beside(current, sent[day])
        settled += superseded
    if current is not None:
        recorded = outcomes.get(current.raised)
        if current.is_open and recorded is not None:
            current = current.close(max(recorded, current.raised), OUTCOME)
        settled.append(current)
    return sorted(settled, key=lambda alert: alert.raised)


def opens_on_open_day(
    alerts: Sequence[Alert], day: int, *, irrevocable_points: int, before: int, left: int, levels: Levels
) -> bool:
    """Whether a day that is not yet closed opens an alert: for what no later event of it can take back, alone."""
    return (
        irrevocable_points >= levels.threshold
        and before < levels.threshold
        and day < left
        and all(not alert.is_open and alert.closed != day and alert.raised != day for alert in alerts)
    )


def _beside(current: Alert | None, told: Alert) -> tuple[Alert, list[Alert]]:
    """A sent alert beside the one that stands: the sent one stays, of two sent ones the earlier. The other one ends."""
    if current is not None and current.is_sent and current.is_open:
        return current, [told if told.closed is not None else told.close(told.raised, RECOVERY)]
    return told, [current] if current is not None and current.is_sent else []


def _undecided(alert: Alert) -> Alert:
    """An alert whose end is to be decided by the days to come; a sent one's end stands."""
    return alert if alert.is_sent else replace(alert, closed=None, closure=None)


def _ended(alert: Alert, day: int, level: int, outcomes: Mapping[int, int], left: int, levels: Levels) -> Alert | None:
    if alert.closed is not None:
        return alert if alert.closed <= day else None
    if left <= day:
        return alert.close(day, DEPARTURE)
    recorded = outcomes.get(alert.raised)
    if recorded is not None and recorded <= day:
        return alert.close(max(recorded, alert.raised), OUTCOME)
    if level <= levels.recovery:
        return alert.close(day, RECOVERY)
    return None
