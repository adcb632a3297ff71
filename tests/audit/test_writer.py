"""The writer when the database is away, slow or cut off, and when its own process is killed."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from shared.audit.checkpoints import note_heads
from shared.audit.writer import AuditAway, AuditWriter
from shared.clock import system_clock
from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres
from shared.keyring import AuditKeys, UnfitKeys
from tests.audit.ledger import KEYS, access, faults, rows, tamper, verify, writing
from tests.conftest import NewDatabase

_CUT = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where application_name = 'branchline-audit' and datname = %s"
)


async def cut_off(postgres: EmbeddedPostgres, database: Database) -> None:
    """Ends the writers' connections."""
    async with await psycopg.AsyncConnection.connect(postgres.url("postgres", "postgres")) as connection:
        await connection.execute(_CUT, [database.jobs.url.database])


ROOT = Path(__file__).parents[2]


async def test_a_row_that_cannot_be_written_is_refused() -> None:
    writer = AuditWriter("customer", "postgresql://nobody@127.0.0.1:1/nothing", KEYS)
    with pytest.raises(AuditAway):
        await writer.record(access())
    await writer.close()


async def test_a_database_that_does_not_answer_is_not_waited_for(new_database: NewDatabase) -> None:
    database = await new_database("customer")
    async with (
        writing(database) as writer,
        await psycopg.AsyncConnection.connect(database.jobs_url) as other,
    ):
        await writer.record(access())
        await other.execute("lock table audit_record")
        with pytest.raises(AuditAway):
            async with asyncio.timeout(4.5):
                await writer.record(access())
        await other.rollback()
        await writer.record(access())
    verified = await verify(database)
    assert verified.faults == []
    assert verified.chains == 2, "what could not be confirmed ended the first"


async def test_a_connection_that_was_cut_is_made_again_and_nobody_notices(
    postgres: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    database = await new_database("customer")
    async with writing(database) as writer:
        await writer.record(access())
        await cut_off(postgres, database)
        await asyncio.gather(*(writer.record(access(f"operation_{number}")) for number in range(20)))
    verified = await verify(database)
    assert verified.faults == []
    assert verified.chains == 2
    assert await rows(database, "select count(*) from audit_record where operation like 'operation%%'") == [(20,)]


async def test_the_next_chain_knows_how_far_the_abandoned_one_came(
    postgres: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    database = await new_database("customer")
    async with writing(database) as writer:
        await writer.record(access())
        await cut_off(postgres, database)
        await writer.record(access())
    ((first,),) = await rows(database, "select chain_id from audit_chain order by started_at limit 1")
    await tamper(database, f"delete from audit_record where chain_id = '{first}' and sequence = 2")
    assert await faults(database) == [("truncated", 2)]


async def test_ends_that_were_noted_are_missed_when_they_are_cut_off(new_database: NewDatabase) -> None:
    database = await new_database("customer")
    async with writing(database) as killed, writing(database) as noting:
        await killed.record(access(), access())
        assert await note_heads(database.jobs_url, "customer", noting, system_clock()) == 1
        assert await note_heads(database.jobs_url, "customer", noting, system_clock()) == 0, "it has just been done"
        await killed.record(access())
        ((chain_id,),) = await rows(database, "select chain_id from audit_record where sequence = 4")
    await tamper(database, f"delete from audit_record where chain_id = '{chain_id}' and sequence >= 3")
    assert await faults(database) == [("truncated", 3)]


CRASHING = """
import asyncio, sys
from shared.keyring import AuditKeys
from shared.audit.writer import AuditWriter
from tests.audit.ledger import access
from pydantic import SecretStr

async def main(url, keys):
    writer = AuditWriter("customer", url, AuditKeys.read(SecretStr(keys), None))

    async def ask(number):
        for again in range(10_000):
            await writer.record(access(f"operation_{number}_{again}"))
            print(f"operation_{number}_{again}", flush=True)

    await asyncio.gather(*(ask(number) for number in range(20)))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_what_was_confirmed_before_a_kill_is_there_and_verifies(new_database: NewDatabase) -> None:
    database = await new_database("customer")
    url = database.requests.url.set(drivername="postgresql").render_as_string(hide_password=False)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASHING, url, KEYS.written(), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    assert process.stdout is not None
    confirmed = [await process.stdout.readline() for _ in range(500)]
    os.kill(process.pid, signal.SIGKILL)
    confirmed += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    whole = {line.decode().strip() for line in confirmed if line.endswith(b"\n")}
    kept = {name for (name,) in await rows(database, "select operation from audit_record")}
    assert whole <= kept
    verified = await verify(database)
    assert (verified.faults, verified.open_chains) == ([], 1)


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        (None, "no key"),
        ("", "id:base64"),
        ("1", "has 0 bytes"),
        ("1:c2hvcnQ=", "has 5 bytes"),
        ("1:!", "not base64"),
        ("1:" + "AAAA" * 11, "not random"),
        ("1:Y2hhbmdlLW1lLWNoYW5nZS1tZS1jaGFuZ2UtbWUtY2hhbmdl", "not random"),
        # Its name without the key, which is another in each process.
        pytest.param(f"{KEYS.written()}{KEYS.written()}", "an id of its own", id="one id twice"),
    ],
)
def test_a_missing_or_guessable_key_is_refused(stated: str | None, why: str) -> None:
    with pytest.raises(UnfitKeys, match=why):
        AuditKeys.read(None if stated is None else SecretStr(stated), None)


def test_a_key_comes_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEYS.written() + AuditKeys.generate("2025").written())
    keys = AuditKeys.read(None, file)
    assert (keys.current, list(keys.keys)) == ("2026", ["2026", "2025"])
    assert KEYS.written().split(":")[1].strip() not in repr(keys)
    with pytest.raises(UnfitKeys, match="cannot be read"):
        AuditKeys.read(None, tmp_path / "none")
