"""The Berka feed against the bank's own files."""

from collections import Counter, defaultdict
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from feeds import berka as feed
from feeds.rows import RowFault
from shared.events.corebanking import (
    AccountRecorded,
    BranchRecorded,
    BusinessDayClosed,
    PartyRecorded,
    PartyRelation,
    TransactionKind,
    TransactionPosted,
)

pytestmark = pytest.mark.berka

LAST_DAY = date(1994, 3, 31)


@pytest.fixture(scope="session")
def files(berka: Path) -> feed.Files:
    faults: list[RowFault] = []
    read = feed.read(berka, faults.append)
    assert faults == []
    return read


@pytest.fixture(scope="session")
def facts(files: feed.Files) -> list[feed.Fact]:
    return list(feed.events(files))


@pytest.fixture(scope="session")
def posted(facts: list[feed.Fact]) -> list[TransactionPosted]:
    return [fact.event for fact in facts if isinstance(fact.event, TransactionPosted)]


def test_every_client_account_and_transaction_of_the_files_is_told_once(facts: list[feed.Fact]) -> None:
    counts = Counter(type(fact.event) for fact in facts)
    assert counts[BranchRecorded] == 77
    assert counts[PartyRecorded] == 5_369
    assert counts[AccountRecorded] == 4_500
    assert counts[TransactionPosted] == 49_102
    assert len({fact.id for fact in facts}) == len(facts)


def test_the_owner_holds_and_the_disponent_is_a_proxy(facts: list[feed.Fact]) -> None:
    accounts = [fact.event for fact in facts if isinstance(fact.event, AccountRecorded)]
    relations = Counter(party.relation for account in accounts for party in account.parties)
    assert relations == {PartyRelation.HOLDER: 4_500, PartyRelation.PROXY: 869}
    assert all(account.parties[0].relation is PartyRelation.HOLDER for account in accounts)


def test_a_womans_birth_month_is_read_without_the_50(facts: list[feed.Fact]) -> None:
    births = {fact.event.party_id: fact.event.birth_on for fact in facts if isinstance(fact.event, PartyRecorded)}
    assert births["1"] == date(1970, 12, 13)
    assert births["2"] == date(1945, 2, 4)


def test_czech_kinds_are_mapped(posted: list[TransactionPosted]) -> None:
    assert Counter(event.kind for event in posted) == {
        TransactionKind.INTEREST: 9_463,
        TransactionKind.PENALTY_INTEREST: 64,
        TransactionKind.FEE: 5_445,
        TransactionKind.HOUSEHOLD: 3_603 + 116,
        TransactionKind.INSURANCE: 644,
        TransactionKind.PENSION: 1_770,
        TransactionKind.LOAN_PAYMENT: 123,
        TransactionKind.CASH_DEPOSIT: 9_759,
        TransactionKind.CASH_WITHDRAWAL: 651 + 41 + 13_436,
        TransactionKind.CARD_WITHDRAWAL: 12,
        TransactionKind.TRANSFER_IN: 2_002,
        TransactionKind.TRANSFER_OUT: 1_636 + 337,
    }
    assert sum(event.counterparty_bank is not None for event in posted) == 10_115
    assert sum(event.amount_minor > 0 for event in posted) == 9_463 + 2_002 + 1_770 + 9_759


def test_each_day_of_an_account_is_one_chain_of_stated_balances(posted: list[TransactionPosted]) -> None:
    by_account: dict[str, list[TransactionPosted]] = defaultdict(list)
    for event in posted:
        by_account[event.account_id].append(event)
    breaks = []
    for account_id, events in by_account.items():
        assert [(e.booked_on, e.sequence) for e in events] == sorted({(e.booked_on, e.sequence) for e in events})
        for before, after in pairwise(events):
            assert before.balance_after_minor is not None
            assert after.balance_after_minor is not None
            if abs(after.balance_after_minor - after.amount_minor - before.balance_after_minor) > feed.ROUNDING_MINOR:
                breaks.append((account_id, after.booked_on, after.sequence))
    assert len(by_account) == 1_229
    # The files end in the middle of the 28 accounts' last day: what came before its first row is cut off.
    assert len(breaks) == 28
    assert {(day, sequence) for _, day, sequence in breaks} == {(LAST_DAY, 1)}


def test_the_last_stated_balance_is_the_sum_of_amounts_but_for_rounding_and_28_accounts(
    posted: list[TransactionPosted],
) -> None:
    sums: Counter[str] = Counter()
    last: dict[str, tuple[date, int, int]] = {}
    for event in posted:
        assert event.balance_after_minor is not None
        sums[event.account_id] += event.amount_minor
        stated = (event.booked_on, event.sequence, event.balance_after_minor)
        last[event.account_id] = max(stated, last.get(event.account_id, stated))
    off = {account_id: abs(total - last[account_id][2]) for account_id, total in sums.items()}
    assert sum(minor == 0 for minor in off.values()) == 598
    assert sum(0 < minor <= 100 for minor in off.values()) == 603
    assert sum(minor >= 200 for minor in off.values()) == 28
    assert len(off) == 598 + 603 + 28


def test_each_day_with_movement_closes_once_after_its_transactions_in_order(facts: list[feed.Fact]) -> None:
    assert [fact.day for fact in facts] == sorted(fact.day for fact in facts)
    closed: list[date] = []
    for fact in facts:
        if isinstance(fact.event, BusinessDayClosed):
            closed.append(fact.event.business_date)
        elif isinstance(fact.event, TransactionPosted):
            assert not closed or closed[-1] < fact.event.booked_on
    moved = {fact.event.booked_on for fact in facts if isinstance(fact.event, TransactionPosted)}
    assert closed == sorted(moved)
    assert len(closed) == 455


def test_what_lies_after_until_is_left_out(files: feed.Files, facts: list[feed.Fact]) -> None:
    until = date(1993, 6, 30)
    assert list(feed.events(files, until=until)) == [fact for fact in facts if fact.day <= until]
    accounts = [f for f in feed.events(files, until=LAST_DAY) if isinstance(f.event, AccountRecorded)]
    assert len(accounts) == 1_229


def test_shifted_to_now_the_last_transaction_is_today_and_every_date_moves_alike(files: feed.Files) -> None:
    today = date(2026, 5, 4)
    shift = timedelta(days=feed.shift_to(files, today))
    until = files.last_transaction_on
    as_it_was = list(feed.events(files, until=until))
    shifted = list(feed.events(files, until=until, shift_days=shift.days))
    assert [fact.id for fact in shifted] == [fact.id for fact in as_it_was]
    assert shifted[-1].event == BusinessDayClosed(business_date=today)
    for before, after in zip(as_it_was, shifted, strict=True):
        match before.event, after.event:
            case TransactionPosted() as old, TransactionPosted() as new:
                assert new == msgspec.structs.replace(old, booked_on=old.booked_on + shift)
            case AccountRecorded() as old_account, AccountRecorded() as new_account:
                assert new_account.opened_on == old_account.opened_on + shift <= today
            case PartyRecorded() as old_party, PartyRecorded() as new_party:
                assert old_party.birth_on is not None
                assert new_party.birth_on == old_party.birth_on + shift


def test_read_twice_the_lines_are_the_same_bytes(berka: Path) -> None:
    until = date(1993, 9, 30)
    first, again = (list(feed.lines(feed.read(berka, lambda _: None), until=until)) for _ in range(2))
    assert first == again
    line = msgspec.json.decode(next(line for line in first if b"transaction_posted" in line))
    assert line == {
        "specversion": "1.0",
        "id": "transaction-695247",
        "source": "berka",
        "type": "corebanking.transaction_posted.v1",
        "time": "1993-01-01T12:00:00Z",
        "data": {
            "account_id": "2378",
            "transaction_id": "695247",
            "booked_on": "1993-01-01",
            "sequence": 1,
            "amount_minor": 70000,
            "currency": "CZK",
            "kind": "cash_deposit",
            "balance_after_minor": 70000,
        },
    }
