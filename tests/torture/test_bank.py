"""The torture's own bank and oracle: what they promise the comparison."""

import random
from collections import Counter
from dataclasses import replace
from datetime import date

import pytest

from shared.events.corebanking import AccountRecorded, PartyRecorded, TransactionPosted, TransactionReversed
from tests.torture.bank import DAYS, Fate, make_bank
from tests.torture.fold import THRESHOLD, fold

TODAY = date(2026, 11, 26)


def test_a_seed_makes_the_same_bank_again() -> None:
    assert make_bank(7, 60, TODAY).arrivals == make_bank(7, 60, TODAY).arrivals
    assert make_bank(7, 60, TODAY).arrivals != make_bank(8, 60, TODAY).arrivals


def test_every_fact_arrives_and_about_five_of_a_hundred_twice() -> None:
    bank = make_bank(1, 300, TODAY)
    arrived = Counter(sent.fact for sent in bank.arrivals)
    assert arrived.keys() == bank.facts.keys()
    assert set(arrived.values()) == {1, 2}
    assert len(bank.arrivals) - len(bank.facts) == bank.duplicates
    assert 0.03 < bank.duplicates / len(bank.facts) < 0.07
    assert 0.03 < bank.late / len(bank.facts) < 0.07


def test_events_come_out_of_order() -> None:
    bank = make_bank(1, 100, TODAY)
    days = [sent.event.booked_on for sent in bank.arrivals if isinstance(sent.event, TransactionPosted)]
    assert days != sorted(days)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_who_is_at_risk_alerts_once_within_the_closed_days_and_nobody_else_does(seed: int) -> None:
    bank = make_bank(seed, 140, TODAY)
    expected = fold(bank)
    at_risk = {party for party, fate in bank.fates.items() if fate is not Fate.CALM}
    assert Counter(party for party, _ in expected.alerts) == Counter(at_risk)
    assert {day for _, day in expected.alerts} <= {
        date.fromordinal(bank.first_closed.toordinal() + n) for n in range(DAYS)
    }
    assert all(expected.points[party] >= THRESHOLD for party in at_risk), "none recovers: alerts stay open"


@pytest.mark.parametrize("seed", range(12))
def test_no_part_of_what_is_told_alerts_on_another_day_than_the_whole(seed: int) -> None:
    """So it does not matter what a close found there already: what was alerted stays alerted."""
    bank = make_bank(seed, 42, TODAY)
    whole = fold(bank).alerts
    dice = random.Random(seed)
    kept_always = {fact for fact, event in bank.facts.items() if isinstance(event, (PartyRecorded, AccountRecorded))}
    kept_always |= {
        f"{event.account_id}/{event.reverses_transaction_id}"
        for event in bank.facts.values()
        if isinstance(event, TransactionReversed)
    }
    for _ in range(10):
        share = dice.random()
        some = {fact: event for fact, event in bank.facts.items() if fact in kept_always or dice.random() < share}
        assert fold(replace(bank, facts=some)).alerts <= whole
