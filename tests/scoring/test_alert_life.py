"""An alert opens when risk crosses its threshold from below, once; closes once; and is never one of two."""

from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given

from services.scoring.domain.alerts import DEPARTURE, OUTCOME, RECOVERY, Alert, Levels, follow, opens_on_open_day
from services.scoring.domain.history import FOREVER

LEVELS = Levels(threshold=50, recovery=35)


def life(
    points: list[int],
    *,
    known: list[Alert] | None = None,
    outcomes: dict[int, int] | None = None,
    left: int = FOREVER,
    first_day: int = 1,
    before: int = 0,
) -> list[Alert]:
    return follow(
        points,
        first_day=first_day,
        before=before,
        known=known or [],
        outcomes=outcomes or {},
        left=left,
        levels=LEVELS,
    )


def test_an_alert_opens_when_risk_crosses_the_threshold_from_below_once() -> None:
    assert life([40, 55, 70, 55, 60]) == [Alert(2)]


def test_risk_that_is_high_on_the_first_day_crosses_then() -> None:
    assert life([80]) == [Alert(1)]


def test_risk_that_was_high_the_day_before_does_not_cross() -> None:
    assert life([80], before=60) == []


def test_between_recovery_and_threshold_an_alert_stays_open() -> None:
    assert life([55, 40, 55]) == [Alert(1)]


def test_an_alert_closes_by_recovery_and_the_next_crossing_opens_another() -> None:
    assert life([55, 35, 55]) == [Alert(1, closed=2, closure=RECOVERY), Alert(3)]


def test_after_an_outcome_risk_goes_below_before_an_alert_opens_again() -> None:
    assert life([55, 55, 55, 55], outcomes={1: 2}) == [Alert(1, closed=2, closure=OUTCOME)]
    assert life([55, 55, 49, 55], outcomes={1: 2}) == [Alert(1, closed=2, closure=OUTCOME), Alert(4)]


def test_an_outcome_of_the_open_day_closes_at_once() -> None:
    assert life([55], outcomes={1: 9}) == [Alert(1, closed=9, closure=OUTCOME)]


def test_no_alert_opens_on_the_day_on_which_one_closed() -> None:
    assert life([55, 45, 60], outcomes={1: 3}) == [Alert(1, closed=3, closure=OUTCOME)]


def test_departure_closes_and_nothing_opens_after_it() -> None:
    assert life([55, 55, 0, 70], left=3) == [Alert(1, closed=3, closure=DEPARTURE)]


def test_a_sent_alert_stays_when_a_late_event_takes_its_reason_away() -> None:
    assert life([10, 40, 30], known=[Alert(2, is_sent=True)]) == [Alert(2, is_sent=True, closed=3, closure=RECOVERY)]


def test_an_alert_that_was_not_sent_is_decided_anew() -> None:
    assert life([10, 40, 55], known=[Alert(2)]) == [Alert(3)]


def test_a_sent_alert_takes_the_place_of_one_found_earlier_by_a_late_event() -> None:
    assert life([55, 55, 55], known=[Alert(3, is_sent=True)]) == [Alert(3, is_sent=True)]


def test_what_closed_a_sent_alert_stays_and_risk_that_goes_on_opens_the_next() -> None:
    told = Alert(1, is_sent=True, closed=2, closure=RECOVERY)
    assert life([55, 55, 55], known=[told]) == [told, Alert(3)]


def test_of_two_sent_alerts_that_overlap_the_later_closes() -> None:
    known = [Alert(1, is_sent=True), Alert(3, is_sent=True)]
    assert life([55, 55, 55], known=known) == [
        Alert(1, is_sent=True),
        Alert(3, is_sent=True, closed=3, closure=RECOVERY),
    ]


def test_an_alert_of_the_open_day_outlives_the_days_that_close_before_it() -> None:
    assert life([10, 10], known=[Alert(4, is_sent=True)]) == [Alert(4, is_sent=True)]
    assert life([10, 10, 10, 55], known=[Alert(4, is_sent=True)]) == [Alert(4, is_sent=True)]


def test_the_open_day_opens_only_for_what_reaches_the_threshold_irrevocably() -> None:
    def opens(alerts: list[Alert], *, irrevocable: int = 50, before: int = 10, left: int = FOREVER) -> bool:
        return opens_on_open_day(alerts, 9, irrevocable_points=irrevocable, before=before, left=left, levels=LEVELS)

    assert opens([])
    assert opens([Alert(3, closed=5, closure=RECOVERY)])
    assert not opens([], irrevocable=49)
    assert not opens([], before=50)
    assert not opens([], left=9)
    assert not opens([Alert(3)])
    assert not opens([Alert(3, closed=9, closure=OUTCOME)])


days = st.lists(st.integers(0, 100), min_size=1, max_size=40)
outcome_days = st.dictionaries(st.integers(1, 40), st.integers(1, 60), max_size=4)
departures = st.integers(1, 60) | st.just(FOREVER)


@given(days, outcome_days, departures)
def test_alerts_never_overlap_and_open_by_crossing(points: list[int], outcomes: dict[int, int], left: int) -> None:
    alerts = life(points, outcomes=outcomes, left=left)
    for alert, following in pairwise(alerts):
        assert alert.closed is not None
        assert alert.raised <= alert.closed < following.raised
    for alert in alerts:
        assert points[alert.raised - 1] >= LEVELS.threshold
        assert alert.raised == 1 or points[alert.raised - 2] < LEVELS.threshold
        assert alert.raised < left


@given(days, outcome_days, departures, st.data())
def test_scoring_the_days_in_pieces_or_again_gives_the_same_alerts(
    points: list[int], outcomes: dict[int, int], left: int, data: st.DataObject
) -> None:
    at_once = life(points, outcomes=outcomes, left=left)
    known: list[Alert] = []
    scored = 0
    while scored < len(points):
        again = data.draw(st.integers(0, scored))
        until = data.draw(st.integers(scored + 1, len(points)))
        before = points[again - 1] if again else 0
        piece = points[again:until]
        known = life(piece, known=known, outcomes=outcomes, left=left, first_day=again + 1, before=before)
        scored = until
    assert known == at_once


@given(days, days, outcome_days, departures, st.integers(1, 40))
def test_what_was_wrong_before_a_late_event_leaves_no_trace(
    wrong: list[int], right: list[int], outcomes: dict[int, int], left: int, late: int
) -> None:
    same = min(late, len(right)) - 1
    wrong = right[:same] + wrong
    known = life(wrong, outcomes=outcomes, left=left)
    before = right[same - 1] if same else 0
    again = life(right[same:], known=known, outcomes=outcomes, left=left, first_day=same + 1, before=before)
    assert again == life(right, outcomes=outcomes, left=left)


@given(days, days, st.integers(1, 40), outcome_days, departures)
def test_a_sent_alert_is_never_taken_back(
    first: list[int], later: list[int], sent_up_to: int, outcomes: dict[int, int], left: int
) -> None:
    known = [
        Alert(alert.raised, True, alert.closed, alert.closure)
        for alert in life(first, outcomes=outcomes, left=left)
        if alert.raised <= sent_up_to
    ]
    again = life(later, known=known, outcomes=outcomes, left=left)
    by_day = {alert.raised: alert for alert in again}
    assert all(by_day[alert.raised].is_sent for alert in known)
    assert all(by_day[alert.raised] == alert for alert in known if not alert.is_open)
    assert sum(alert.is_open for alert in again) <= 1
