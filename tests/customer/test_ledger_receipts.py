"""What is applied of a history has its receipt in the ledger, and is asked of as any other is."""

import random
from collections.abc import Sequence
from datetime import date
from typing import Any

import msgspec
import pytest
from psycopg.errors import UniqueViolation
from sqlalchemy import text

from services.customer.errors import CoreEventNotFound
from services.customer.handlers import CoreBanking
from services.customer.use_cases import ledger_receipts
from services.customer.use_cases.erasures import remember_erased
from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.receipts import get_core_event
from services.customer.use_cases.receiving import Received, Remembered, read_cloud_event, receive, receive_fact
from services.customer.use_cases.transaction_columns import FIELDS, transactions_of
from services.customer.use_cases.transaction_ids import PREFIX, transaction_named_by
from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres
from shared.events.corebanking import TransactionPosted
from shared.ids import new_id
from shared.messaging.seen import Seen
from shared.migrations import migrate
from tests.bank import account, lines
from tests.conftest import NewDatabase
from tests.customer.asking import NOW
from tests.customer.hostile import BANK, QUIET, became, plain, record
from tests.harness import PARTITIONS, rows_as_owner
from tests.keys import share_fingerprints

RULES = Rules(partitions=PARTITIONS, tolerance_minor=100)
ACCOUNTS = (*QUIET, "A-late")
Rows = Sequence[TransactionPosted]


def name_of(row: TransactionPosted) -> str:
    return f"{PREFIX}{row.account_id}/{row.transaction_id}"


def as_event(row: TransactionPosted, line: int) -> Received:
    return receive_fact("core", name_of(row), NOW, row, received_at=NOW, line=line)


async def load(database: Database, rows: Rows, remembered: Remembered | None) -> None:
    """As a backfill does, which looks up everything when the ledger knew what it did not."""
    try:
        await load_once(database, rows, remembered)
    except UniqueViolation:
        assert remembered is not None
        remembered.distrust()
        await load_once(database, rows, remembered)


async def load_once(database: Database, rows: Rows, remembered: Remembered | None) -> None:
    columns = {name: [getattr(row, name) for row in rows] for name in FIELDS}
    transactions, wrong = transactions_of(
        "core", range(len(rows)), None, columns, NOW, lambda line: as_event(rows[line], line)
    )
    async with database.transaction() as session:
        await receive_events(
            session,
            [as_event(rows[at], at) for at in wrong],
            rules=RULES,
            now=NOW,
            transactions=[transactions] if transactions else [],
            remembered=remembered,
        )


async def receive_all(database: Database, received: Sequence[Received]) -> None:
    async with database.transaction() as session:
        await receive_events(session, received, rules=RULES, now=NOW)


async def begin(database: Database, *more: Any) -> Database:
    read = [read_cloud_event(line, received_at=NOW) for line in lines([*BANK, *more], ids="bank").split(b"\n")]
    await receive_all(database, [each for each in read if isinstance(each, Received)])
    return database


async def outcome_of(database: Database, event_id: str, source: str = "core") -> str | None:
    async with database.transaction() as session:
        try:
            return (await get_core_event(session, source, event_id)).receipt.outcome
        except CoreEventNotFound:
            return None


def rows_with_repeats(seed: int, count: int) -> list[TransactionPosted]:
    """Some of them twice, changed, wrong, or of an account that comes later."""
    dice = random.Random(seed)
    rows: list[TransactionPosted] = []
    for number in range(count):
        row = plain(dice, number, ACCOUNTS)
        match dice.randrange(8):
            case 0 if rows:
                row = dice.choice(rows)
            case 1 if rows:
                row = msgspec.structs.replace(dice.choice(rows), sequence=9)
            case 2:
                row = msgspec.structs.replace(row, booked_on=date(1700, 1, 1))
        rows.append(row)
    return rows


@pytest.mark.parametrize(("seed", "most"), [(1, 10_000), (2, 1), (3, 10_000)])
async def test_a_history_by_columns_has_the_receipts_of_its_rows_as_events(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, seed: int, most: int
) -> None:
    monkeypatch.setattr(ledger_receipts, "MOST_UNSETTLED", most)
    rows, dice = rows_with_repeats(seed, 120), random.Random(seed)
    parts = [rows[first : first + 20] for first in range(0, len(rows), 20)]
    one_by_one = await begin(await share_fingerprints(await new_database("customer")))
    by_columns = await begin(await share_fingerprints(await new_database("customer")))
    remembered = Remembered(distrusted=0)
    late = read_cloud_event(lines([account("A-late", "P1")], ids="late"), received_at=NOW)
    assert isinstance(late, Received)
    for number, part in enumerate(parts):
        events = [as_event(row, line) for line, row in enumerate(part)]
        await receive_all(one_by_one, events)
        if dice.random() < 0.3:
            await receive_all(by_columns, [as_event(row, line) for line, row in enumerate(part)])
        else:
            await load(by_columns, part, dice.choice((remembered, Remembered(distrusted=1_000), None)))
        if number == 3:
            for database in (one_by_one, by_columns):
                await receive_all(database, [msgspec.structs.replace(late)])
    expected, found = await became(one_by_one), await became(by_columns)
    for name in ("receipts", "postings", "accounts", "kept", "told"):
        assert found[name] == expected[name], name
    (in_ledger,) = await rows_as_owner(by_columns, "select count(*) from posting where is_receipt")
    assert in_ledger[0] > 20
    for row in rows:
        assert await outcome_of(by_columns, name_of(row)) == await outcome_of(one_by_one, name_of(row)) is not None


async def test_what_was_posted_under_another_id_is_no_receipt_of_the_id_that_names_it(
    new_database: NewDatabase,
) -> None:
    database = await begin(await new_database("customer"))
    row = plain(random.Random(1), 1, QUIET)
    await receive_all(database, [msgspec.structs.replace(as_event(row, 0), event_id="live")])
    assert [await outcome_of(database, each) for each in ("live", name_of(row))] == ["applied", None]
    await load(database, [row], None)
    assert [await outcome_of(database, each) for each in ("live", name_of(row))] == ["applied", "duplicate"]


async def test_a_receipt_in_the_ledger_is_of_its_source_and_of_exactly_its_id(new_database: NewDatabase) -> None:
    database = await begin(await new_database("customer"))
    row = plain(random.Random(1), 1, QUIET)
    await load(database, [row], None)
    assert await outcome_of(database, name_of(row)) == "applied"
    for other in (f"{name_of(row)}/", f"{name_of(row)}x", name_of(row).replace("v1", "v2"), PREFIX):
        assert await outcome_of(database, other) is None
    assert await outcome_of(database, name_of(row), source="other") is None
    assert transaction_named_by(f"{PREFIX}A/B/C") is None


async def test_another_payload_under_an_id_in_the_ledger_never_takes_its_place(new_database: NewDatabase) -> None:
    database = await begin(await new_database("customer"))
    row = plain(random.Random(1), 1, QUIET)
    await load(database, [row], None)
    changed = msgspec.structs.replace(row, sequence=row.sequence + 1)
    broken = receive("core", name_of(row), row.TYPE, NOW, b"{}", received_at=NOW)
    assert isinstance(broken, Received)
    for again in (as_event(changed, 0), broken):
        await receive_all(database, [again])
        assert again.outcome == "parked"
    assert await outcome_of(database, name_of(row)) == "applied"
    kept = await rows_as_owner(database, "select code, pointer from kept_event order by 1")
    assert kept == [("conflicting_duplicate", "/id"), ("malformed_event", "/data/account_id")]


async def test_a_live_event_of_the_same_id_is_known_by_the_ledger(new_database: NewDatabase) -> None:
    database = await begin(await new_database("customer"))
    row = plain(random.Random(1), 1, QUIET)
    await load(database, [row], None)
    core = CoreBanking(RULES, lambda: NOW, Remembered(distrusted=0))
    for event_id in ("live", name_of(row)):
        read = await core.read_core_events([record(event_id, row, 0)])
        async with database.transaction() as session:
            await core.receive_core_events(session, read)
    assert [await outcome_of(database, each) for each in ("live", name_of(row))] == ["duplicate", "applied"]


async def test_a_mended_row_takes_the_place_of_one_that_another_process_parked(new_database: NewDatabase) -> None:
    database = await begin(await new_database("customer"))
    row = plain(random.Random(1), 1, QUIET)
    await load(database, [msgspec.structs.replace(row, booked_on=date(1700, 1, 1))], Remembered(distrusted=0))
    assert await outcome_of(database, name_of(row)) == "parked"
    await load(database, [row], Remembered(distrusted=0))
    assert await outcome_of(database, name_of(row)) == "applied"
    assert await rows_as_owner(database, "select 1 from kept_event") == []


async def test_a_row_that_is_left_to_events_is_found_where_columns_noted_it(new_database: NewDatabase) -> None:
    database, remembered = await begin(await new_database("customer")), Remembered(distrusted=0)
    remembered.transactions = Seen(distrusted=1)  # the first is looked up
    row, other = (plain(random.Random(number), number, QUIET[:1]) for number in (1, 2))
    await receive_all(database, [msgspec.structs.replace(as_event(row, 0), event_id="live")])
    await load(database, [row], remembered)
    await load_once(database, [row, other, msgspec.structs.replace(other, sequence=9)], remembered)
    assert [await outcome_of(database, name_of(each)) for each in (row, other)] == ["duplicate", "applied"]


async def test_receipts_of_an_erased_ledger_stay(new_database: NewDatabase) -> None:
    database = await begin(await new_database("customer"))
    row = plain(random.Random(1), 1, QUIET)
    await load(database, [row], None)
    async with database.transaction() as session:
        query = text("select customer_id from account where core_account_id = :id")
        await remember_erased(session, (await session.execute(query, {"id": row.account_id})).scalar_one())
        await session.execute(text("delete from posting"))
    assert await outcome_of(database, name_of(row)) == "applied"


async def test_receipts_in_the_ledger_become_rows_again_when_the_migration_is_taken_back(
    postgres: EmbeddedPostgres,
) -> None:
    """Migration 0016 with data."""
    name = f"receipts_{new_id().hex}"
    postgres.provision(name, "customer", "customer_api")
    url = postgres.url("customer", name)
    await migrate("customer", url, "0015")
    database = Database(url, url)
    accounts, customer = (new_id(), new_id()), new_id()
    post = (
        "insert into posting (account_id, core_transaction_id, fingerprint, customer_id, booked_on, sequence,"
        " amount_minor, kind, is_external) values ('{}', '{}', {}, '{}', '2026-01-01', 1, 5, 'other', false)"
    )
    setting = (
        "insert into branch values ('B1', 1, 1, 'One', null, null, '{B1}')",
        "insert into customer (customer_id, source, party_id, revision, fingerprint, version, customer_number,"
        f" branch_id) values ('{customer}', 'core', 'P1', 1, 1, 1, '1', 'B1')",
        *(
            "insert into account (account_id, source, core_account_id, customer_id, revision, fingerprint, version,"
            f" kind, currency, opened_on) values ('{account_id}', 'core', 'A{number}', '{customer}', 1, 1, 1,"
            " 'current', 'CNY', '2020-01-01')"
            for number, account_id in enumerate(accounts)
        ),
        post.format(accounts[0], "T-before", 1, customer),
    )
    async with database.jobs.begin() as connection:
        for statement in setting:
            await connection.exec_driver_sql(statement)
    await migrate("customer", url, "0016")
    async with database.jobs.begin() as connection:
        for number, account_id in enumerate(accounts):
            await connection.exec_driver_sql(post.format(account_id, f"T{number}", number - 7, customer))
            marked = f"update posting set is_receipt = true where core_transaction_id = 'T{number}'"
            await connection.exec_driver_sql(marked)
    in_ledger = await rows_as_owner(database, "select posted_at from posting where is_receipt")
    assert await rows_as_owner(database, "select 1 from received_event") == []
    await migrate("customer", url, "-1")
    receipts = await rows_as_owner(
        database, "select source, event_id, type, fingerprint, outcome, received_at from received_event order by 2"
    )
    assert receipts == [
        ("core", f"{PREFIX}A{number}/T{number}", TransactionPosted.TYPE, number - 7, "applied", in_ledger[number][0])
        for number in range(2)
    ]
    await migrate("customer", url, "0016")
    assert await rows_as_owner(database, "select count(*) from posting where not is_receipt") == [(3,)]
    await database.close()
