"""Transactions that are posted by columns end as the same ones event by event, whatever comes with them."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from sqlalchemy import text

from services.customer.domain.balances import Balance
from services.customer.handlers import CoreBanking
from services.customer.personal_data import RULES as PERSONAL
from services.customer.use_cases import ingestion
from services.customer.use_cases.account_columns import MOST_MINOR, NEVER, Accounts, Booked, moved
from services.customer.use_cases.column_posting import Posted, post_columns
from services.customer.use_cases.core_records import read_record
from services.customer.use_cases.erasures import remember_erased
from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.receiving import Received, Remembered, Unreadable, read_cloud_event
from services.customer.use_cases.transaction_columns import FIELDS, facts_of, written_as_events, wrong_rows
from shared.database import Database
from shared.erasure.rules import Deleted
from shared.messaging.dead_letters import Parked, offsets_parked_in, park
from shared.messaging.records import Record
from tests.bank import lines
from tests.conftest import NewDatabase
from tests.customer.asking import NOW
from tests.customer.hostile import BANK, ERASED, QUIET, as_fetched, became, hostile, plain, record
from tests.harness import PARTITIONS
from tests.keys import share_fingerprints

RULES = Rules(partitions=PARTITIONS, tolerance_minor=100)


async def begin(database: Database) -> None:
    async with database.transaction() as session:
        read = [read_cloud_event(line, received_at=NOW) for line in lines(BANK, ids="bank").split(b"\n")]
        await receive_events(session, [each for each in read if isinstance(each, Received)], rules=RULES, now=NOW)
        await session.execute(text("update customer set restricted_at = now() where party_id = 'P2'"))
    async with database.transaction() as session:
        query = text("select customer_id from account where core_account_id = :id")
        customer_id = (await session.execute(query, {"id": ERASED})).scalar_one()
        await remember_erased(session, customer_id)
        for table, rule in PERSONAL.items():
            if isinstance(rule, Deleted) and table in ("customer_token", "account_party", "account", "customer"):
                await session.execute(text(f"delete from {table} where {rule.which}"), {"customer_id": customer_id})


def forgetful() -> CoreBanking:
    """It trusts from the beginning that it never saw what it does not know."""
    return CoreBanking(RULES, lambda: NOW, Remembered(distrusted=0))


async def by_events(database: Database, records: Sequence[Record], size: int) -> dict[str, Any]:
    await begin(database)
    parked = []
    for first in range(0, len(records), size):
        batch = records[first : first + size]
        read = [read_record(record, NOW, line) for line, record in enumerate(batch)]
        async with database.transaction() as session:
            letters = [
                Parked(batch[each.line], each.code, each.detail) for each in read if isinstance(each, Unreadable)
            ]
            await park(session, letters)
            received = [each for each in read if isinstance(each, Received)]
            await receive_events(session, received, rules=RULES, now=NOW)
            parked += [batch[each.line].offset for each in received if each.outcome == "parked"]
            parked += sorted(offsets_parked_in(session))
    return {**await became(database), "parked": sorted(parked)}


async def by_columns(database: Database, records: Sequence[Record], size: int, fetched: bool) -> dict[str, Any]:
    await begin(database)
    core, parked = forgetful(), []
    for first in range(0, len(records), size):
        async with database.transaction() as session:
            batch = as_fetched(records[first : first + size]) if fetched else records[first : first + size]
            await core.receive_core_events(session, await core.read_core_events(batch))
            parked += sorted(offsets_parked_in(session))
    return {**await became(database), "parked": sorted(parked)}


@pytest.mark.parametrize(("seed", "size"), [(11, 240), (2, 70), (3, 20), (4, 240), (5, 131), (6, 9)])
async def test_a_hostile_stream_ends_the_same_by_columns_and_event_by_event(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, seed: int, size: int
) -> None:
    posted: list[Posted] = []

    async def counting(*given: Any) -> Posted:
        posted.append(await post_columns(*given))
        return posted[-1]

    monkeypatch.setattr(ingestion, "post_columns", counting)
    records = hostile(seed, 240)
    expected = await by_events(await share_fingerprints(await new_database("customer")), records, size)
    database = await share_fingerprints(await new_database("customer"))
    found = await by_columns(database, records, size, fetched=seed % 2 == 0)
    for name, rows in expected.items():
        assert found[name] == rows, name
    assert sum(each.applied for each in posted) > 20
    assert sum(each.duplicates for each in posted) > 2
    assert sum(len(each.left) for each in posted) > 20
    assert all(expected[name] for name in ("told", "kept", "letters", "parked", "findings"))


async def test_what_this_process_never_saw_but_the_ledger_has_counts_once(new_database: NewDatabase) -> None:
    database = await new_database("customer")
    await begin(database)
    records = [record(f"e{n}", plain(random.Random(n), n, QUIET), n) for n in range(30)]
    for events in (records[:20], records):
        core = forgetful()
        async with database.transaction() as session:
            await core.receive_core_events(session, await core.read_core_events(events))
    found = await became(database)
    assert len(found["postings"]) == 30
    assert sum(map(len, found["told"].values())) == 30


@pytest.mark.parametrize("seed", range(40))
def test_balances_by_columns_are_what_booking_row_by_row_comes_to(seed: int) -> None:
    dice = random.Random(seed)
    balances = [some_balance(dice) for _ in range(12)]
    rows = sorted(
        (
            (dice.randrange(12), dice.randrange(1, 5), dice.randrange(3), dice.randrange(-9, 9), some(dice))
            for _ in range(dice.randrange(1, 40))
        ),
        key=lambda row: row[:3],
    )
    account, day, sequence, amount, stated = zip(*rows, strict=True)
    given = [np.array(column, np.int64) for column in (account, day, sequence, amount, [each or 0 for each in stated])]
    booked = Booked(given[0], given[1], given[2], given[3], given[4], np.array([each is not None for each in stated]))
    found = moved(accounts_of(balances), booked)
    for number, day_, sequence_, amount_, stated_ in rows:
        balances[number].book((date.fromordinal(day_), sequence_), amount_, stated_)
    assert found.account.tolist() == sorted(set(account))
    assert found.odd.tolist() == [balances[number].looks_back for number in found.account]
    for at, number in enumerate(found.account.tolist()):
        if not found.odd[at]:
            assert columns_of([balances[number]]) == [tuple(int(column[at]) for column in found[2:-1])]


def some(dice: random.Random) -> int | None:
    return dice.choice((None, dice.randrange(100)))


def some_balance(dice: random.Random) -> Balance:
    balance = Balance()
    for _ in range(dice.randrange(3)):
        at = (date.fromordinal(dice.randrange(1, 5)), dice.randrange(3))
        balance.book(at, dice.randrange(-9, 9), some(dice))
    balance.looks_back = False
    return balance


def columns_of(balances: Sequence[Balance]) -> list[tuple[int, ...]]:
    """(posted, since, stated, its day and sequence, the last day and sequence) of each"""
    return [
        (
            balance.posted_minor,
            balance.since_minor,
            balance.stated_minor or 0,
            *((balance.stated_at[0].toordinal(), balance.stated_at[1]) if balance.stated_at else (NEVER, 0)),
            *((balance.latest_at[0].toordinal(), balance.latest_at[1]) if balance.latest_at else (NEVER, 0)),
        )
        for balance in balances
    ]


def accounts_of(balances: Sequence[Balance]) -> Accounts:
    count = np.arange(len(balances))
    columns = (np.array(column, np.int64) for column in zip(*columns_of(balances), strict=True))
    return Accounts(count, count, count, count, *columns)


def test_amounts_that_no_sum_of_a_batch_could_hold_go_the_other_way() -> None:
    one = np.zeros(2, np.int64)
    amounts = np.array([MOST_MINOR + 1, -MOST_MINOR])
    rows = Booked(np.arange(2), one + 1, one, amounts, one, np.zeros(2, np.bool_))
    assert moved(accounts_of([Balance(), Balance()]), rows).odd.tolist() == [True, False]


def test_a_plain_transaction_is_known_again_by_the_same_fingerprint() -> None:
    dice = random.Random(1)
    events = [plain(dice, number, ("A1",)) for number in range(50)]
    events.append(msgspec.structs.replace(events[0], transaction_id='T"\n\u2028\\u0000', sequence=0))
    columns = {name: [getattr(event, name) for event in events] for name in FIELDS}
    written, told = written_as_events(facts_of(columns))
    assert written == [msgspec.json.encode(event) for event in events]
    said = [
        {name: getattr(event, name) for name in FIELDS[4:8] if getattr(event, name) is not None} for event in events
    ]
    assert told.rows() == [b"," + msgspec.json.encode(each)[1:-1] for each in said]


def test_a_number_that_no_event_may_hold_is_wrong() -> None:
    right = {name: [value] * 2 for name, value in msgspec.structs.asdict(plain(random.Random(1), 1, ("A1",))).items()}
    assert wrong_rows(right, NOW) == set()
    for name, wrong in WRONG_VALUES.items():
        for value in wrong:
            assert wrong_rows({**right, name: [right[name][0], value]}, NOW) == {1}, (name, value)


WRONG_VALUES: dict[str, tuple[Any, ...]] = {
    "account_id": (None, "", "A" * 65),
    "transaction_id": (None, "", "T" * 65),
    "booked_on": (None, date(1799, 12, 31), date(2200, 1, 1), NOW.date() + timedelta(days=3)),
    "sequence": (-1, 2**53 + 1),
    "amount_minor": (None, 2**53 + 1, -(2**53) - 1, 2**70),
    "currency": (None, "eur", "EURO", "EU", "EUR\n"),
    "kind": (None, "barter"),
    "balance_after_minor": (2**53 + 1,),
    "counterparty_bank": ("B" * 21,),
}
