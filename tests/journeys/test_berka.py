"""A real bank: the Berka files go through the public ingestion, and afterwards every figure agrees with the files."""

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import text

from feeds import berka as feed
from feeds.push import Pushed, push
from feeds.rows import RowFault
from shared.embedded_postgres import EmbeddedPostgres
from shared.events.corebanking import TransactionPosted
from tests.journeys.conftest import Bank, eventually, running_bank

pytestmark = [pytest.mark.berka, pytest.mark.timeout(420)]

CLIENTS, ACCOUNTS, TRANSACTIONS, MOVED, OFF = 5_369, 4_500, 49_102, 1_229, 28


async def fed(bank: Bank, folder: Path, until: date | None = None) -> Pushed:
    faults: list[RowFault] = []
    lines = list(feed.lines(feed.read(folder, faults.append), until=until))
    assert faults == []
    token = await bank.token("service", scopes=["corebanking:write"])
    return await push(lines, base_url=bank.url, token=token, chunk_lines=10_000)


async def rows(bank: Bank, service: str, query: str) -> list[tuple[Any, ...]]:
    assert bank.line is not None
    async with bank.line.databases[service].jobs.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(query))]


@pytest.fixture(scope="module")
async def fed_bank(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, berka: Path
) -> AsyncIterator[Bank]:
    """A line of its own that Berka was fed to, and whose scoring has heard all of it."""
    async with running_bank(postgres, tmp_path_factory.mktemp("berka")) as bank:
        pushed = await fed(bank, berka)
        assert (pushed.held, pushed.parked, pushed.duplicate) == (0, 0, 0)
        await eventually(lambda: all_heard(bank), seconds=120)
        yield bank


async def all_heard(bank: Bank) -> bool:
    heard = await rows(bank, "scoring", "select sum(credit_count + debit_count) from daily_aggregate")
    return bool(heard[0][0] == TRANSACTIONS)


async def test_the_counts_are_those_of_the_files(fed_bank: Bank) -> None:
    assert await rows(fed_bank, "customer", "select count(*) from customer") == [(CLIENTS,)]
    assert await rows(fed_bank, "customer", "select count(*), count(latest_on) from account") == [(ACCOUNTS, MOVED)]
    assert await rows(fed_bank, "customer", "select count(*) from posting") == [(TRANSACTIONS,)]
    assert await rows(fed_bank, "customer", "select count(*) from account_party where relation = 'holder'") == [
        (ACCOUNTS,)
    ]


async def test_each_balance_is_the_one_that_the_core_stated_last(fed_bank: Bank, berka: Path) -> None:
    last: dict[str, int] = {}
    for fact in feed.events(feed.read(berka, lambda fault: None)):
        if isinstance(fact.event, TransactionPosted):
            assert fact.event.balance_after_minor is not None
            last[fact.event.account_id] = fact.event.balance_after_minor
    found = await rows(
        fed_bank, "customer", "select core_account_id, stated_minor from account where posted_since_minor = 0"
    )
    assert {core_id: stated for core_id, stated in found if stated is not None} == last
    assert len(last) == MOVED


async def test_what_does_not_add_up_is_a_finding(fed_bank: Bank) -> None:
    off = await rows(
        fed_bank, "customer", "select count(*), min(abs(posted_minor - stated_minor)) from reconciliation_finding"
    )
    assert off[0][0] == OFF
    assert off[0][1] >= 200
    within = await rows(
        fed_bank,
        "customer",
        "select count(*) filter (where posted_minor = stated_minor),"
        " count(*) filter (where posted_minor <> stated_minor and abs(posted_minor - stated_minor) <= 100) from account"
        " where stated_minor is not null",
    )
    assert within == [(598, 603)]
    async with fed_bank.http("head_office", staff_id="HO") as http:
        first = (await http.get("/api/customer/v1/reconciliation-findings?limit=200")).json()
    assert (len(first["items"]), first["next"]) == (OFF, None)


async def test_daily_aggregates_are_those_that_duckdb_computes_from_the_files(fed_bank: Bank, berka: Path) -> None:
    options = "delim=';', quote='\"', header=true, all_varchar=true"
    relation = duckdb.sql(
        f"""
        with trans as (
                 select account_id, strptime('19' || date, '%Y%m%d')::date as day, type = 'PRIJEM' as is_credit,
                        coalesce(k_symbol = 'DUCHOD', false) as is_pension,
                        round(amount::decimal(18, 2) * 100)::bigint as minor
                 from read_csv('{berka}/trans.asc.gz', {options})),
             holder as (
                 select account_id, client_id from read_csv('{berka}/disp.asc.gz', {options}) where type = 'OWNER')
        select client_id, day, coalesce(sum(minor) filter (is_credit), 0)::bigint, count(*) filter (is_credit),
               coalesce(sum(minor) filter (not is_credit), 0)::bigint, count(*) filter (not is_credit),
               coalesce(sum(minor) filter (is_pension), 0)::bigint
        from trans join holder using (account_id) group by all
        """
    )
    assert relation is not None
    expected = relation.fetchall()
    parties = dict(await rows(fed_bank, "customer", "select customer_id, party_id from customer"))
    found = await rows(
        fed_bank,
        "scoring",
        "select customer_id, booked_on, sum(credit_minor), sum(credit_count), sum(debit_minor), sum(debit_count),"
        " sum(salary_minor) from daily_aggregate group by customer_id, booked_on",
    )
    assert sum(row[3] + row[5] for row in expected) == TRANSACTIONS
    assert sorted((parties[customer_id], day, *map(int, sums)) for customer_id, day, *sums in found) == sorted(expected)


async def test_fed_twice_nothing_changes(fed_bank: Bank, berka: Path) -> None:
    tables = {
        "customer": ("customer", "account", "posting", "reconciliation_finding", "outbox"),
        "scoring": ("daily_aggregate", "churn_alert", "score_change"),
    }

    async def state() -> list[Any]:
        return [
            await rows(fed_bank, service, f"select count(*), md5(string_agg(t::text, '|' order by t::text)) from {t} t")
            for service, names in tables.items()
            for t in names
        ]

    async def quiet() -> bool:
        """Nothing on its way, and nobody whose score is still due."""
        due = await rows(
            fed_bank,
            "scoring",
            "select count(*) from customer_score s join business_day b using (partition)"
            " where s.due_on <= b.last_closed_on",
        )
        outbox = await rows(fed_bank, "customer", "select count(*) from outbox")
        return (due, outbox) == ([(0,)], [(0,)])

    await eventually(quiet)
    before = await state()
    again = await fed(fed_bank, berka)
    assert (again.applied, again.duplicate) == (0, again.received)
    await eventually(quiet)
    assert await state() == before
