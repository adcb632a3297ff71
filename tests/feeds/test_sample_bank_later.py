"""How the sample bank goes on after its year: whole days later, and the open day as it happens."""

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import msgspec
import pytest

from feeds import sample_bank
from feeds.sample_bank.trickle import ANGRY_EVERY, INTERVAL, LAST_NUMBER
from shared.events.corebanking import (
    BusinessDayClosed,
    ComplaintOutcome,
    ComplaintRecorded,
    PartyRecorded,
    SurveyAnswered,
    TransactionPosted,
)
from tests.feeds.sample import SEED, UNTIL, Year, opened

TODAY = UNTIL + timedelta(days=1)


def later(first: int, last: int) -> list[bytes]:
    return list(sample_bank.later_lines(SEED, UNTIL, UNTIL + timedelta(days=first), UNTIL + timedelta(days=last)))


def trickled(start_at: int, count: int, day: date = TODAY) -> list[bytes]:
    return list(islice(sample_bank.trickle(SEED, UNTIL, day, start_at), count))


@pytest.fixture(scope="module")
def first_quarter_of_an_hour() -> list[bytes]:
    return trickled(0, 18 * ANGRY_EVERY)


def test_later_days_are_the_same_however_they_are_asked_for() -> None:
    together = later(1, 40)
    assert together == [*later(1, 3), *later(4, 40)]
    days = [event.business_date for _, event in map(opened, together) if isinstance(event, BusinessDayClosed)]
    assert days == [UNTIL + timedelta(days=day) for day in range(1, 41)]


def test_later_days_do_not_tell_the_sample_again(year: Year) -> None:
    days = later(-30, 10)
    assert min(opened(line)[0].time.date() for line in days) == TODAY
    assert not year.ids & {opened(line)[0].id for line in days}


def test_in_later_days_stories_go_on_to_their_end_and_no_balance_is_stated() -> None:
    events = [event for _, event in map(opened, later(1, 90))]
    left = {event.customer_number for event in events if isinstance(event, PartyRecorded) and event.left_on is not None}
    horizon = UNTIL + timedelta(days=90)
    expected = {n for n, gone in sample_bank.truth(SEED, UNTIL).items() if UNTIL < gone.left_on <= horizon}
    assert left == expected
    assert len(left) > 100
    assert all(event.balance_after_minor is None for event in events if isinstance(event, TransactionPosted))


def test_the_open_day_goes_on_anywhere_with_the_same_events(first_quarter_of_an_hour: list[bytes]) -> None:
    assert trickled(130, 300) == first_quarter_of_an_hour[130:430]
    assert trickled(0, 50, TODAY + timedelta(days=1)) != first_quarter_of_an_hour[:50]


def test_no_two_events_of_open_days_and_later_days_share_an_id(first_quarter_of_an_hour: list[bytes]) -> None:
    lines = [*first_quarter_of_an_hour, *later(1, 2), *trickled(0, 500, TODAY + timedelta(days=1))]
    assert len({opened(line)[0].id for line in lines}) == len(lines)


def test_each_event_of_the_open_day_has_its_own_time_and_the_day_ends() -> None:
    assert [opened(line)[0].time for line in trickled(0, 3)] == [
        datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC) + number * INTERVAL for number in range(3)
    ]
    (last,) = trickled(LAST_NUMBER, 10)
    assert opened(last)[0].time.date() == TODAY


def test_who_knows_only_the_time_goes_on_at_the_event_whose_time_it_is() -> None:
    now = datetime(TODAY.year, TODAY.month, TODAY.day, 13, 45, 7, tzinfo=UTC)
    (line,) = trickled(sample_bank.number_at(now), 1)
    assert now - INTERVAL < opened(line)[0].time <= now


def test_now_and_then_someone_is_angry_enough_for_an_alert_today(first_quarter_of_an_hour: list[bytes]) -> None:
    events = [event for _, event in map(opened, first_quarter_of_an_hour)]
    rejected = [
        e.party_id for e in events if isinstance(e, ComplaintRecorded) and e.outcome is ComplaintOutcome.REJECTED
    ]
    worst = {e.party_id for e in events if isinstance(e, SurveyAnswered) and e.score <= 2}
    away: defaultdict[str, int] = defaultdict(int)
    for event in events:
        if isinstance(event, TransactionPosted) and event.counterparty_bank is not None and event.amount_minor < 0:
            away[event.account_id] += event.amount_minor
    assert len(rejected) == len(set(rejected)) == 18
    assert set(rejected) <= worst
    assert all(away[f"A{party_id[1:]}01"] < 0 for party_id in rejected)
    leaving = sample_bank.truth(SEED, UNTIL)
    assert not any(party_id.replace("P", "C") in leaving for party_id in rejected)


def test_every_other_angry_customer_is_the_demo_managers(year: Year, first_quarter_of_an_hour: list[bytes]) -> None:
    manager_of = {party.party_id: party.manager_id for party in year.of(PartyRecorded)}
    events = [event for _, event in map(opened, first_quarter_of_an_hour)]
    angry = [event.party_id for event in events if isinstance(event, ComplaintRecorded) and event.revision == 1]
    demo = [manager_of[party_id] == sample_bank.DEMO_MANAGER_ID for party_id in angry]
    assert all(demo[::2])


def test_most_of_an_open_day_is_everyday_and_states_no_balance(first_quarter_of_an_hour: list[bytes]) -> None:
    kinds = Counter(msgspec.json.decode(line)["type"] for line in first_quarter_of_an_hour)
    assert kinds["corebanking.transaction_posted.v1"] > 0.8 * len(first_quarter_of_an_hour)
    assert not any(b"balance_after_minor" in line for line in first_quarter_of_an_hour)
