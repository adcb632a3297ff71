"""What becomes old is dropped by the month, and what stays still verifies."""

from datetime import UTC, date, datetime, timedelta

import pytest

from shared.audit.checkpoints import take_checkpoint
from shared.audit.retention import DoesNotVerify, drop_before, make_partitions
from shared.clock import system_clock
from shared.database import Database
from tests.audit.ledger import KEYS, access, faults, rows, tamper, verify, writing
from tests.conftest import NewDatabase


@pytest.fixture
async def three_months(new_database: NewDatabase) -> Database:
    """One process that ran in January only, and one from January to March, with five accesses in each month."""
    database = await new_database("customer")
    for month in (1, 2, 3):
        await rows(database, "select make_audit_partition(%s)", date(2026, month, 1))
    now = [datetime(2026, 1, 5, tzinfo=UTC)]
    async with writing(database, clock=lambda: now[0]) as long:
        async with writing(database, clock=lambda: now[0]) as short:
            for _ in range(5):
                await short.record(access())
                await long.record(access())
        for month in (2, 3):
            now[0] = datetime(2026, month, 5, tzinfo=UTC)
            for _ in range(5):
                await long.record(access())
    return database


async def partitions(database: Database) -> list[str]:
    found = await rows(
        database, "select inhrelid::regclass::text from pg_inherits where inhparent = 'audit_record'::regclass"
    )
    return sorted(name for (name,) in found)


async def test_a_month_has_a_partition_of_its_own(three_months: Database) -> None:
    for month, expected in (("01", 13), ("02", 5), ("03", 6)):
        assert await rows(three_months, f"select count(*) from audit_record_2026{month}") == [(expected,)]
    assert await faults(three_months) == []


async def test_the_months_ahead_have_theirs_already(three_months: Database) -> None:
    now = system_clock()
    await make_partitions(three_months.jobs_url, now)
    await make_partitions(three_months.jobs_url, now + timedelta(days=32))
    in_three_months = (now.replace(day=1) + timedelta(days=95)).strftime("audit_record_%Y%m")
    assert in_three_months in await partitions(three_months)


async def test_what_stays_verifies_when_old_months_are_dropped(three_months: Database) -> None:
    before = await take_checkpoint(three_months.jobs_url, "customer", KEYS, system_clock())
    assert await drop_before(three_months.jobs_url, "customer", KEYS, date(2026, 3, 1), system_clock) == 2
    assert not {"audit_record_202601", "audit_record_202602"} & set(await partitions(three_months))
    verified = await verify(three_months, checkpoints=[before])
    assert verified.faults == []
    assert verified.chains == 2, "the long one, and that which says what was dropped"
    assert await rows(three_months, "select min(sequence), max(sequence) from audit_record_202603") == [(12, 17)]


async def test_a_drop_that_nobody_signed_is_found(three_months: Database) -> None:
    await tamper(three_months, "delete from audit_record where at < '2026-02-01'")
    found = await faults(three_months)
    assert ("removed", 1) in found, "of the long chain"
    assert ("truncated", 1) in found, "the short one"


async def test_more_than_was_dropped_is_missed(three_months: Database) -> None:
    await drop_before(three_months.jobs_url, "customer", KEYS, date(2026, 2, 1), system_clock)
    await tamper(three_months, "delete from audit_record where at < '2026-03-01'")
    assert await faults(three_months) == [("removed", 7)]


async def test_nothing_is_dropped_of_what_does_not_verify(three_months: Database) -> None:
    await tamper(three_months, "update audit_record set actor = 'M2' where at >= '2026-03-01' and sequence = 14")
    with pytest.raises(DoesNotVerify):
        await drop_before(three_months.jobs_url, "customer", KEYS, date(2026, 2, 1), system_clock)
    assert "audit_record_202601" in await partitions(three_months)


async def test_a_dropped_part_is_not_signed_by_who_has_no_key(three_months: Database) -> None:
    ((chain_id, mac),) = await rows(
        three_months,
        "select chain_id, encode(mac, 'hex') from audit_record where at < '2026-02-01' and sequence = 6"
        " and chain_id in (select chain_id from audit_record where at >= '2026-03-01')",
    )
    await tamper(
        three_months,
        "insert into audit_record select chain_id, 18, at + interval '1 s', action, outcome, status, 'audit.dropped',"
        f" 'chain/{chain_id}/6/{mac}', purpose, actor, role, branch_id, on_behalf_of, address, request_id, trace_id,"
        " customer_ids, customer_count, mac from audit_record where sequence = 17",
        "delete from audit_record where at < '2026-02-01'",
    )
    assert ("altered", 18) in await faults(three_months)
