"""The sample bank's year, looked at as a whole."""

import re
from collections import Counter, defaultdict
from datetime import date, timedelta
from itertools import islice

import pytest

from feeds import sample_bank
from feeds.sample_bank import Departure
from shared.events.corebanking import (
    AccountKind,
    AccountRecorded,
    BranchRecorded,
    BusinessDayClosed,
    ComplaintRecorded,
    ContactRecorded,
    LifeEventKind,
    LifeEventRecorded,
    ManagerRecorded,
    PartyRecorded,
    SurveyAnswered,
    TransactionPosted,
)
from tests.feeds.sample import SEED, UNTIL, Year

START = date(2025, 5, 4)
DIGEST = "24106bf31175946075048274860cbf7c7d72b2f69249a02c51a5a54bfe476fc3"
"""Of the whole year. It changes only where the sample is changed on purpose, never with a Python or a machine."""


@pytest.fixture(scope="module")
def truth() -> dict[str, Departure]:
    return sample_bank.truth(SEED, UNTIL)


def test_the_same_seed_and_day_give_the_same_bytes_on_every_python(year: Year) -> None:
    assert year.digest == DIGEST


def test_another_seed_is_another_bank() -> None:
    first, second = (b"".join(islice(sample_bank.lines(seed, UNTIL), 5_000)) for seed in (SEED, SEED + 1))
    assert first != second


def test_it_is_three_branches_24_managers_6000_customers_and_about_300000_events(year: Year) -> None:
    counts = Counter(type(event) for event in year.events)
    assert counts[BranchRecorded] == 3
    assert counts[ManagerRecorded] == 24
    assert len({party.party_id for party in year.of(PartyRecorded)}) == 6_000
    assert 290_000 < len(year.events) < 320_000
    assert abs(len(year.events) / sample_bank.EXPECTED_LINES - 1) < 0.02
    assert sum(manager.is_branch_head for manager in year.of(ManagerRecorded)) == 3


def test_it_is_made_in_a_few_seconds(year: Year) -> None:
    assert year.seconds < 15


def test_every_kind_of_fact_is_in_it(year: Year) -> None:
    kinds = Counter(str(event.kind) for event in year.of(TransactionPosted))
    assert {"salary", "pension", "rent", "household", "insurance", "card_payment", "cash_withdrawal"} <= set(kinds)
    assert {"transfer_in", "transfer_out", "interest", "deposit_placed", "deposit_matured"} <= set(kinds)
    accounts = Counter(event.kind for event in year.of(AccountRecorded))
    assert {AccountKind.CURRENT, AccountKind.SAVINGS, AccountKind.CARD, AccountKind.TERM_DEPOSIT} == set(accounts)
    for told in (ContactRecorded, ComplaintRecorded, SurveyAnswered, LifeEventRecorded):
        assert sum(1 for _ in year.of(told)) > 300


def test_ids_are_unique_and_time_does_not_run_back(year: Year) -> None:
    assert len(year.ids) == len(year.events)
    assert year.times == sorted(year.times)
    assert year.times[0].date() == START
    assert year.times[-1].date() == UNTIL


def test_every_day_of_the_year_closes_once_behind_all_of_its_facts(year: Year) -> None:
    closed: list[date] = []
    for event in year.events:
        if isinstance(event, BusinessDayClosed):
            closed.append(event.business_date)
        elif isinstance(event, TransactionPosted):
            assert event.booked_on == (closed[-1] + timedelta(days=1) if closed else START)
    assert closed == [START + timedelta(days=day) for day in range(365)]


def test_each_balance_is_the_one_before_and_the_amount_and_none_is_below_zero(year: Year) -> None:
    balances: defaultdict[str, int] = defaultdict(int)
    last: dict[str, tuple[date, int]] = {}
    for event in year.of(TransactionPosted):
        balances[event.account_id] += event.amount_minor
        assert event.balance_after_minor == balances[event.account_id] >= 0
        day, sequence = last.get(event.account_id, (event.booked_on, 0))
        assert event.sequence == (sequence + 1 if day == event.booked_on else 1)
        assert event.currency == "CNY"
        last[event.account_id] = (event.booked_on, event.sequence)


def test_transactions_are_of_accounts_that_are_open_and_known(year: Year) -> None:
    accounts: dict[str, AccountRecorded] = {}
    known: set[str] = set()
    for event in year.events:
        match event:
            case PartyRecorded():
                known.add(event.party_id)
            case AccountRecorded():
                assert {party.party_id for party in event.parties} <= known
                assert event.revision == (
                    accounts[event.account_id].revision + 1 if event.account_id in accounts else 1
                )
                accounts[event.account_id] = event
            case TransactionPosted():
                account = accounts[event.account_id]
                assert account.opened_on <= event.booked_on
                assert account.closed_on is None


def test_a_closed_account_is_empty(year: Year) -> None:
    balances = {event.account_id: event.balance_after_minor for event in year.of(TransactionPosted)}
    closed = [account.account_id for account in year.of(AccountRecorded) if account.closed_on is not None]
    assert len(closed) > 1_000
    assert {balances.get(account_id, 0) for account_id in closed} == {0}


def test_eight_to_ten_percent_leave_in_every_way_and_all_over_the_year(truth: dict[str, Departure]) -> None:
    left = [departure for departure in truth.values() if departure.left_on <= UNTIL]
    assert 480 <= len(left) <= 600
    ways = Counter(departure.how for departure in left)
    assert min(ways.values()) >= 20
    assert set(ways) == {
        "salary_moved",
        "balance_drained",
        "card_quiet",
        "complaint_gone_badly",
        "deposit_not_renewed",
        "death_in_household",
        "nothing_at_all",
    }
    quarters = Counter((departure.began_on - START).days // 92 for departure in truth.values())
    assert min(quarters[quarter] for quarter in range(4)) > 100


def test_who_leaves_closes_every_account_and_is_recorded_as_left_some_weeks_later(
    year: Year, truth: dict[str, Departure]
) -> None:
    left_on = {party.customer_number: party.left_on for party in year.of(PartyRecorded) if party.left_on is not None}
    assert left_on == {number: gone.left_on for number, gone in truth.items() if gone.left_on <= UNTIL}
    still_open: defaultdict[str, set[str]] = defaultdict(set)
    for account in year.of(AccountRecorded):
        still_open[account.parties[0].party_id].add(account.account_id)
        if account.closed_on is not None:
            still_open[account.parties[0].party_id].remove(account.account_id)
    for number, gone in truth.items():
        assert timedelta(days=14) <= gone.left_on - gone.closed_on <= timedelta(days=28)
        assert bool(still_open[number.replace("C", "P")]) == (gone.closed_on > UNTIL)


def test_who_only_looks_like_leaving_stays(year: Year, truth: dict[str, Departure]) -> None:
    look_alikes = sample_bank.look_alikes(SEED, UNTIL)
    assert len(look_alikes) == 720
    assert {"long_holiday", "big_purchase", "complaint_well_resolved", "deposit_renewed_late"} < {
        how for how, _ in look_alikes.values()
    }
    assert not look_alikes.keys() & truth.keys()


def test_cases_are_coming_to_a_head_when_the_sample_ends(truth: dict[str, Departure]) -> None:
    """Begun within six weeks and still with us; how many alerts they make is the scorecard's to say."""
    fresh = [one for one in truth.values() if one.closed_on > UNTIL and UNTIL - one.began_on <= timedelta(days=45)]
    assert 100 <= len(fresh) <= 220
    assert len(Counter(departure.how for departure in fresh)) >= 6


def test_no_event_says_who_leaves(year: Year) -> None:
    """Deaths happen to those who stay, too; otherwise stories have no words on the wire."""
    text = b"\n".join(islice(sample_bank.lines(SEED, UNTIL), 100_000))
    for how in (
        b"salary_moved",
        b"balance_drained",
        b"card_quiet",
        b"gone_badly",
        b"nothing_at_all",
        b"leav",
        b"churn",
    ):
        assert how not in text
    deaths = [event for event in year.of(LifeEventRecorded) if event.kind is LifeEventKind.DEATH_IN_HOUSEHOLD]
    leaving = {number.replace("C", "P") for number in sample_bank.truth(SEED, UNTIL)}
    assert sum(event.party_id not in leaving for event in deaths) > 20


def test_managers_contact_a_part_of_their_portfolio(year: Year) -> None:
    portfolios: defaultdict[str, set[str]] = defaultdict(set)
    contacted: defaultdict[str, set[str]] = defaultdict(set)
    for party in year.of(PartyRecorded):
        assert party.manager_id is not None
        portfolios[party.manager_id].add(party.party_id)
    for contact in year.of(ContactRecorded):
        assert contact.manager_id is not None
        if not contact.by_customer:
            contacted[contact.manager_id].add(contact.party_id)
    shares = [len(contacted[manager]) / len(portfolio) for manager, portfolio in portfolios.items()]
    assert len(shares) == 24
    assert {len(portfolio) for portfolio in portfolios.values()} == {250}
    assert min(shares) < 0.4
    assert 0.6 < max(shares) < 0.95


def test_people_are_invented_and_cannot_be_reached(year: Year) -> None:
    parties = list(year.of(PartyRecorded))
    chinese = sum(bool(re.fullmatch("[一-鿿]{2,3}", party.name or "")) for party in parties)
    latin = sum(bool(re.fullmatch("[A-Z][a-z]+ [A-Z][a-z]+", party.name or "")) for party in parties)
    assert chinese + latin == len(parties)
    assert latin > 1_000
    assert all((party.phone or "").startswith("+86 000 ") for party in parties)
    assert all((party.email or "@customers.example").endswith("@customers.example") for party in parties)
    assert all(manager.email.endswith("@sample-bank.example") for manager in year.of(ManagerRecorded))


@pytest.mark.parametrize("until", [date(2024, 2, 29), date(2025, 12, 31)])
def test_any_day_can_be_the_last(until: date) -> None:
    closed = [line for line in sample_bank.lines(3, until) if b"business_day_closed" in line]
    assert len(closed) == 365
    assert f'"{until.isoformat()}"'.encode() in closed[-1]
