"""The audit in the hands of somebody who may write to the database and has no key."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from shared.audit.checkpoints import take_checkpoint
from shared.audit.records import ChainOpening, Row, canonical, opening_mac, row_mac
from shared.audit.writer import AuditWriter
from shared.database import Database
from shared.ids import new_id
from shared.keyring import AuditKeys
from tests.audit.ledger import KEYS, access, faults, rows, tamper, verify, writing
from tests.conftest import NewDatabase

ROW = 5
"""The row that is attacked; the chain has its opening, ten accesses and its close: rows 1 to 12."""


@pytest.fixture
async def ledger(new_database: NewDatabase) -> Database:
    """Ten accesses of one process that has ended."""
    database = await new_database("customer")
    async with writing(database) as writer:
        for number in range(10):
            await writer.record(access(f"operation_{number}", new_id()))
    return database


async def test_what_was_written_verifies(ledger: Database) -> None:
    verified = await verify(ledger)
    assert verified.faults == []
    assert (verified.chains, verified.rows, verified.open_chains) == (1, 12, 0)


EDITS = (
    "actor = 'M2'",
    "role = 'auditor'",
    "customer_ids = '{}'",
    "customer_count = 0",
    "outcome = 'refused'",
    "status = 404",
    "status = null",
    "purpose = 'audit'",
    "operation = 'read_me'",
    "resource = ''",
    "address = '10.0.0.1'",
    "branch_id = ''",
    "on_behalf_of = 'M2'",
    "request_id = '1'",
    "trace_id = '1'",
    "action = 'change'",
    "at = at + interval '1 microsecond'",
    "mac = decode(repeat('00', 32), 'hex')",
)


@pytest.mark.parametrize("edit", EDITS)
async def test_an_edited_row_is_found_where_it_stands(ledger: Database, edit: str) -> None:
    await tamper(ledger, f"update audit_record set {edit} where sequence = {ROW}")
    found = await faults(ledger)
    assert ("altered", ROW) in found
    assert {sequence for _, sequence in found} <= {ROW, ROW + 1}, "the row after it stands on its MAC"


async def test_every_column_is_attacked() -> None:
    attacked = {edit.partition(" ")[0] for edit in EDITS} | {"chain_id", "sequence"}  # those below
    assert attacked == {*Row.__struct_fields__, "mac"}


async def test_swapped_rows_are_found(ledger: Database) -> None:
    swap = f"update audit_record set sequence = 2 * {ROW} + 1 - sequence where sequence in ({ROW}, {ROW} + 1)"
    await tamper(ledger, "alter table audit_record drop constraint pk_audit_record", swap)
    assert {("altered", ROW), ("altered", ROW + 1)} <= set(await faults(ledger))


async def test_swapped_contents_are_found(ledger: Database) -> None:
    swap = (
        "update audit_record r set (operation, customer_ids) = (o.operation, o.customer_ids) from audit_record o"
        f" where o.sequence = 2 * {ROW} + 1 - r.sequence and r.sequence in ({ROW}, {ROW} + 1)"
    )
    await tamper(ledger, swap)
    assert await faults(ledger) == [("altered", ROW), ("altered", ROW + 1)]


async def test_a_removed_row_is_missed_where_it_stood(ledger: Database) -> None:
    await tamper(ledger, f"delete from audit_record where sequence = {ROW}")
    assert await faults(ledger) == [("removed", ROW)]
    (fault,) = (await verify(ledger)).faults
    ((before,),) = await rows(ledger, f"select at from audit_record where sequence = {ROW - 1}")
    assert fault.at == before


async def test_a_removed_row_whose_gap_is_closed_is_missed_too(ledger: Database) -> None:
    await tamper(
        ledger,
        f"delete from audit_record where sequence = {ROW}",
        f"update audit_record set sequence = sequence - 1 where sequence > {ROW}",
    )
    assert (await faults(ledger))[0] == ("altered", ROW)


async def test_a_forged_row_is_found_where_it_was_put(ledger: Database) -> None:
    columns = ", ".join(name for name in Row.__struct_fields__ if name not in ("sequence", "at", "actor"))
    forged = (
        f"insert into audit_record (sequence, at, actor, {columns}, mac)"
        f" select 13, at + interval '1 second', 'M2', {columns}, sha256(mac) from audit_record where sequence = 12"
    )
    await tamper(ledger, forged)
    assert await faults(ledger) == [("altered", 13)]


async def test_a_second_row_of_a_number_is_found(ledger: Database) -> None:
    columns = ", ".join(name for name in Row.__struct_fields__ if name != "at")
    again = (
        f"insert into audit_record (at, {columns}, mac)"
        f" select at + interval '1 microsecond', {columns}, mac from audit_record where sequence = {ROW}"
    )
    await tamper(ledger, again)
    assert ("inserted", ROW) in await faults(ledger)


async def test_an_emptied_audit_is_found(ledger: Database) -> None:
    await tamper(ledger, "truncate audit_record")
    assert await faults(ledger) == [("truncated", 1)]


async def test_an_end_that_was_cut_off_is_missed_by_a_checkpoint(ledger: Database) -> None:
    checkpoint = await take_checkpoint(ledger.jobs_url, "customer", KEYS, datetime.now(UTC))
    assert await faults(ledger, checkpoints=[checkpoint]) == []
    await tamper(ledger, "delete from audit_record where sequence > 8")
    verified = await verify(ledger)
    assert (verified.faults, verified.open_chains) == ([], 1), "without one it looks like a process that was killed"
    assert await faults(ledger, checkpoints=[checkpoint]) == [("truncated", 9)]


async def test_a_chain_that_is_gone_is_missed_by_a_checkpoint(ledger: Database) -> None:
    checkpoint = await take_checkpoint(ledger.jobs_url, "customer", KEYS, datetime.now(UTC))
    await tamper(ledger, "delete from audit_record", "delete from audit_chain")
    assert await faults(ledger) == []
    assert await faults(ledger, checkpoints=[checkpoint]) == [("removed_chain", 12)]


async def test_a_checkpoint_that_was_changed_or_is_of_another_service_is_refused(ledger: Database) -> None:
    checkpoint = await take_checkpoint(ledger.jobs_url, "customer", KEYS, datetime.now(UTC))
    other = await take_checkpoint(ledger.jobs_url, "scoring", KEYS, datetime.now(UTC))
    strangers = await take_checkpoint(ledger.jobs_url, "customer", AuditKeys.generate("2026"), datetime.now(UTC))
    checkpoint.chains.clear()
    for forged in (checkpoint, other, strangers):
        assert await faults(ledger, checkpoints=[forged]) == [("forged_checkpoint", None)]


async def test_a_chain_that_is_replayed_under_another_id_is_found(ledger: Database) -> None:
    other = new_id()
    columns = ", ".join(name for name in Row.__struct_fields__ if name != "chain_id")
    await tamper(
        ledger,
        f"insert into audit_chain select '{other}', key_id, process, started_at, mac from audit_chain",
        f"insert into audit_record (chain_id, {columns}, mac) select '{other}', {columns}, mac from audit_record",
    )
    found = (await verify(ledger)).faults
    assert {fault.chain_id for fault in found} == {other}
    assert found[0].code == "altered_chain"
    assert [fault.sequence for fault in found[1:]] == list(range(1, 13))


async def test_a_chain_that_is_replayed_into_another_service_is_found(
    ledger: Database, new_database: NewDatabase
) -> None:
    elsewhere = AuditWriter("scoring", ledger.requests.url, KEYS)
    await elsewhere.record(access())
    await elsewhere.close()
    found = (await verify(ledger)).faults
    assert [fault.code for fault in found] == ["altered_chain"]


async def test_a_chain_that_was_never_begun_is_found(ledger: Database) -> None:
    await tamper(ledger, f"update audit_record set chain_id = '{new_id()}' where sequence > {ROW}")
    assert [code for code, _ in await faults(ledger)] == ["unknown_chain"]


async def test_a_row_that_is_younger_than_the_next_is_found(ledger: Database) -> None:
    await tamper(ledger, f"update audit_record set at = at + interval '1 hour' where sequence = {ROW}")
    assert set(await faults(ledger)) == {("altered", ROW), ("altered", ROW + 1)}


async def test_a_key_that_was_replaced_still_verifies_what_it_made(ledger: Database) -> None:
    newer = AuditKeys("2027", {"2027": AuditKeys.generate("2027").keys["2027"], **KEYS.keys})
    async with writing(ledger, keys=newer) as writer:
        await writer.record(access())
    assert (await verify(ledger, keys=newer)).faults == []
    (fault,) = (await verify(ledger)).faults
    assert (fault.code, fault.detail) == ("unknown_key", "no key has the id 2027")
    stranger = AuditKeys.generate("2026")
    assert (await verify(ledger, keys=stranger)).faults[0].code == "altered_chain"


@pytest.mark.parametrize(
    "statement",
    [
        "update audit_record set actor = 'M2'",
        "delete from audit_record",
        "truncate audit_record",
        "truncate audit_record_other",
        "update audit_chain set key_id = '1'",
        "delete from audit_chain",
        "truncate audit_chain",
    ],
)
async def test_nobody_changes_the_audit(ledger: Database, statement: str) -> None:
    ((partition,),) = await rows(ledger, "select tableoid::regclass::text from audit_record group by tableoid")
    for url in (ledger.jobs_url, ledger.requests.url.set(drivername="postgresql").render_as_string()):
        for where in {statement, statement.replace("audit_record_other", partition)}:
            async with await psycopg.AsyncConnection.connect(url) as connection:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await connection.execute(where)


async def test_requests_may_add_rows_and_read_none(ledger: Database) -> None:
    url = ledger.requests.url.set(drivername="postgresql").render_as_string()
    for table in ("audit_record", "audit_chain", "audit_record_other"):
        async with await psycopg.AsyncConnection.connect(url) as connection:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await connection.execute(f"select 1 from {table}")


async def test_two_processes_write_their_own_chains_at_once(new_database: NewDatabase) -> None:
    database = await new_database("customer")
    async with writing(database) as one, writing(database) as other:
        await asyncio.gather(*(writer.record(access()) for writer in (one, other) for _ in range(50)))
    verified = await verify(database)
    assert (verified.faults, verified.chains, verified.rows) == ([], 2, 104)


async def test_many_at_once_take_few_transactions(new_database: NewDatabase) -> None:
    database = await new_database("customer")
    async with writing(database) as writer:
        await writer.record(access())
        ((before,),) = await rows(database, "select pg_current_xact_id()::text::bigint")
        await asyncio.gather(*(writer.record(access()) for _ in range(200)))
        ((after,),) = await rows(database, "select pg_current_xact_id()::text::bigint")
    assert after - before <= 5, "200 rows, and the two questions themselves"
    assert (await verify(database)).rows == 203


async def test_the_canonical_form_is_what_it_was() -> None:
    """A chain that was written years ago is verified with this."""
    chain_id, customer_id = UUID("0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10"), UUID("0193a1c8-9b40-7c11-8d02-5a3c1e9f7d21")
    at = datetime(2026, 11, 26, 9, 30, 0, 120, tzinfo=UTC)
    row = Row(chain_id, 7, at, "read", "shown", 200, "read_customer", "/customers", "customer_care", "林", "manager",
              "B1", None, "10.1.2.3", None, "0af7651916cd43dd8448eb211c80319c", [customer_id], 1)  # fmt: skip
    written = canonical(row)
    assert written.decode() == (
        '{"chain_id":"0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10","sequence":7,"at":"2026-11-26T09:30:00.000120Z",'
        '"action":"read","outcome":"shown","status":200,"operation":"read_customer","resource":"/customers",'
        '"purpose":"customer_care","actor":"林","role":"manager","branch_id":"B1","on_behalf_of":null,'
        '"address":"10.1.2.3","request_id":null,"trace_id":"0af7651916cd43dd8448eb211c80319c",'
        '"customer_ids":["0193a1c8-9b40-7c11-8d02-5a3c1e9f7d21"],"customer_count":1}'
    )
    assert json.loads(written)["actor"] == "林"
    key = bytes(range(100, 132))
    opening = ChainOpening(service="customer", chain_id=chain_id, key_id="1", process="host:1", started_at=at)
    first = opening_mac(key, opening)
    assert first.hex() == "d8db50df5c3b351186a5b8b81312b7fcc4d1986379b29c31edac779427abbde8"
    assert row_mac(key, first, written).hex() == "b20bea7aeeb2ae3f8cd65a3931a69eb972bf71a2edacf2bb6b47ce443f6f9d0b"
