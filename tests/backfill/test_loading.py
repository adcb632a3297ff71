"""A load that is killed goes on where it was; nothing is lost, nothing doubled, and what is wrong is told."""

import asyncio
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from services.customer.app import customer_service
from services.customer.use_cases.backfill import LoadedElsewhere, begin_backfill, load_rows
from services.customer.use_cases.ingestion import Rules
from services.customer.use_cases.receiving import read_cloud_event
from shared.audit.verification import verify_service
from shared.database import Database
from tests.audit.ledger import KEYS as AUDIT_KEYS
from tests.backfill.conftest import Live
from tests.backfill.history import (
    as_csv,
    command,
    movements,
    reversals,
    rows_of,
    run,
    state,
    static,
    table,
    write_csv,
    write_folder,
)
from tests.bank import lines, push
from tests.harness import PARTITIONS, rows_as_owner, under_test

CUSTOMERS = 40


def start(database: Database, *arguments: str | Path) -> subprocess.Popen[bytes]:
    program, environment = command(database, *arguments)
    return subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def position(database: Database) -> int:
    with psycopg.connect(database.jobs_url) as connection:
        return int(connection.execute("select coalesce(sum(position), 0) from backfill").fetchall()[0][0])


def wait_for_position(database: Database, at_least: int, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while position(database) < at_least and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.timeout(400)
async def test_a_load_killed_again_and_again_ends_like_one_that_was_not(
    database: Database, live: Live, tmp_path: Path
) -> None:
    dice = random.Random(11)
    posted = movements(4, CUSTOMERS, 6_000)
    events = [*static(CUSTOMERS), *posted, *reversals(posted, 200)]
    bank = write_folder(tmp_path / "bank", CUSTOMERS, events[2 + 2 * CUSTOMERS :])
    kills = 0
    arguments = (bank, "--source=core", "--rows=200")
    while kills < 6:
        child = start(database, *arguments)
        # After a part of the load that chance says, and at any point of the transaction after it.
        wait_for_position(database, position(database) + dice.randrange(50, 500), child)
        await asyncio.sleep(dice.random() * 0.02)
        child.send_signal(signal.SIGKILL)
        assert child.wait() in (-signal.SIGKILL, 0)
        kills += child.returncode != 0
        if child.returncode == 0:
            break
    assert kills >= 4
    before = position(database)
    summary = run(database, *arguments)
    assert before + summary["read"] == len(events)
    assert (summary["duplicate"], summary["still_held"], summary["parked"]) == (0, 0, 0), "nothing was read twice"
    loaded = await state(database)
    assert loaded == await live(events)
    assert len(loaded["postings"]) == 6_000 + len(reversals(posted, 200))


async def test_a_load_that_nothing_moves_with_would_be_seen(database: Database, tmp_path: Path) -> None:
    """The position is the guard: set back by hand, rows come twice, and count once all the same."""
    posted = movements(4, 3, 100)
    run(database, write_folder(tmp_path / "bank", 3, posted), "--source=core")
    before = await state(database)
    with psycopg.connect(database.jobs_url) as connection:
        connection.execute("update backfill set position = 0, finished_at = null where path like '%transactions.csv'")
    summary = run(database, tmp_path / "bank", "--source=core")
    assert (summary["loaded_before"], summary["duplicate"], summary["applied"]) == (4, 100, 0)
    assert await state(database) == before


async def test_wrong_rows_are_parked_and_told_and_the_others_are_loaded(database: Database, tmp_path: Path) -> None:
    posted = movements(4, 3, 40)
    bank = write_folder(tmp_path / "bank", 3, posted)
    named = rows_of(posted)
    named[8]["currency"] = "C"
    named[10]["currency"] = "EUR"
    named[11]["booked_on"] = "2525-01-01"
    named[19:19] = [named[9], {**named[13], "amount_minor": 99_999_999}]
    rows = table(named).split("\r\n")
    rows[5] = "A1,T5"
    (bank / "transactions.csv").write_text("\r\n".join(rows))
    report = tmp_path / "wrong.csv"
    summary = run(database, bank, "--source=core", f"--report={report}")
    assert (summary["parked"], summary["duplicate"]) == (5, 1)
    told = [line.split(",")[1:5] for line in report.read_text().splitlines()[1:]]
    assert [(line, code, pointer) for line, _id, code, pointer in told] == [
        ("6", "malformed_row", ""),
        ("10", "malformed_event", "/data/currency"),
        ("12", "currency_mismatch", "/data/currency"),
        ("13", "implausible_date", "/data/booked_on"),
        ("22", "conflicting_duplicate", "/id"),
    ]
    with psycopg.connect(database.jobs_url) as connection:
        kept = connection.execute("select event_id, code from kept_event order by 1").fetchall()
        assert {event_id for _line, event_id, _code, _pointer in told if event_id} == {each for each, _code in kept}
        assert connection.execute("select count(*) from posting").fetchall() == [(36,)]
    assert "transactions.csv, line 6: malformed_row" in summary["error"]
    for line in report.read_text().splitlines() + summary["error"].splitlines():
        assert "Nováková" not in line

    # Mended and loaded again, the rows that were parked are applied.
    write_csv(bank / "transactions.csv", posted)
    mended = run(database, bank, "--source=core")
    assert (mended["applied"], mended["parked"]) == (4, 0)


async def test_a_load_of_which_too_much_is_wrong_keeps_nothing_of_it(database: Database, tmp_path: Path) -> None:
    bank = write_folder(tmp_path / "bank", 3, movements(4, 3, 40))
    wrong = (bank / "transactions.csv", "--source=core", "--value=kind:*=barter")
    refused = run(database, *wrong, "--most-parked=10", status=1)
    assert "--most-parked" in refused["error"]
    assert "malformed_event at /data/kind" in refused["error"]
    with psycopg.connect(database.jobs_url) as connection:
        assert connection.execute("select count(*) from kept_event").fetchall() == [(0,)]
    assert run(database, bank, "--source=core")["parked"] == 0


async def test_files_that_overlap_count_once_and_a_changed_row_is_a_conflict(
    database: Database, tmp_path: Path
) -> None:
    posted = movements(4, 3, 60)
    bank = write_folder(tmp_path / "bank", 3, posted[:40])
    run(database, bank, "--source=core")
    recorded = "select resource, customer_count from audit_record where operation = 'backfill' order by resource"
    rows = await rows_as_owner(database, recorded)
    assert [count for _, count in rows] == [3, 3, 3], "parties, accounts, transactions: a row for each transaction"
    assert all(re.fullmatch(r"backfill/[0-9a-f-]{36}/0-\d+", resource) for resource, _ in rows)
    assert (await verify_service(database.jobs_url, "customer", AUDIT_KEYS)).faults == []
    write_csv(tmp_path / "transactions-later.csv", posted[20:])
    later = run(database, tmp_path / "transactions-later.csv", "--source=core")
    assert (later["applied"], later["duplicate"]) == (20, 20)
    again = run(database, bank, "--source=core")
    assert (again["read"], again["loaded_before"]) == (0, 5)
    again = run(database, bank, "--source=core", "--again")
    assert (again["applied"], again["duplicate"], again["parked"]) == (0, 48, 0)
    changed = msgspec.structs.replace(posted[30], amount_minor=posted[30].amount_minor + 1)
    conflict = run(database, write_csv(tmp_path / "transactions-changed.csv", [changed]), "--source=core")
    assert (conflict["parked"], conflict["applied"]) == (1, 0)
    assert "conflicting_duplicate" in conflict["error"]


async def test_a_file_that_changed_while_it_was_loaded_in_part_is_refused_until_it_is_told(
    database: Database, tmp_path: Path
) -> None:
    posted = movements(4, 3, 300)
    bank = write_folder(tmp_path / "bank", 3, posted)
    rows = as_csv(posted).split("\r\n")
    broken = [*rows[:250], *("wrong" for _ in range(20)), *rows[250:]]
    (bank / "transactions.csv").write_text("\r\n".join(broken))
    stopped = run(database, bank, "--source=core", "--rows=100", "--most-parked=5", status=1)
    assert "more than 5 rows are wrong" in stopped["error"]
    write_csv(bank / "transactions.csv", posted)
    refused = run(database, bank, "--source=core", status=1)
    assert "has changed since its first 200 records were loaded" in refused["error"]
    told = run(database, bank / "transactions.csv", "--source=core", "--again")
    assert (told["applied"], told["duplicate"]) == (100, 200)


async def test_of_two_loads_of_a_file_one_refuses(database: Database, tmp_path: Path) -> None:
    bank = write_folder(tmp_path / "bank", 3, movements(4, 3, 3_000))
    run(database, *(bank / name for name in ("branches.csv", "managers.csv", "parties.csv")), "--source=core")
    (bank / "accounts.csv").unlink()
    first = start(database, bank / "transactions.csv", "--source=core", "--rows=50")
    try:
        await asyncio.to_thread(wait_for_position, database, 200, first)
        first.send_signal(signal.SIGSTOP)
        refused = run(database, bank / "transactions.csv", "--source=core", status=1)
        assert "is being loaded by another backfill" in refused["error"]
        first.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(first.wait, 60) == 0
    finally:
        first.kill()
    assert position(database) >= 3_000


async def test_a_load_beside_the_live_events_ends_the_same(database: Database, live: Live, tmp_path: Path) -> None:
    posted = movements(9, CUSTOMERS, 3_000)
    events = [*static(CUSTOMERS), *posted]
    dice = random.Random(1)
    shuffled = dice.sample(events, len(events))
    bank = write_folder(tmp_path / "bank", CUSTOMERS, posted)
    async with under_test(customer_service(partitions=PARTITIONS), database) as service:
        loading = start(database, bank, "--source=core", "--rows=100")
        for first in range(0, len(events), 100):
            await push_until_it_works(service, shuffled[first : first + 100], f"live-{first}")
        assert await asyncio.to_thread(loading.wait, 120) == 0
    assert await state(database) == await live(events)


async def push_until_it_works(service: Any, events: Sequence[Any], ids: str) -> None:
    """A client repeats what it is told to try again: 503 while another applies the same."""
    for _ in range(20):
        try:
            await push(service, lines(events, ids=ids))
        except AssertionError as fault:
            if "503" not in str(fault) and "try_again" not in str(fault):
                raise
            await asyncio.sleep(0.05)
        else:
            return
    raise AssertionError("it never works")


def test_memory_is_bounded_whatever_the_file(tmp_path: Path) -> None:
    """Peak memory of reading a file ten times as large is the same."""
    program = (
        "import re, sys; from pathlib import Path\n"
        "from feeds.files.layout import File, Format, Layout; from feeds.files.reading import chunks\n"
        "from shared.events.corebanking import TransactionPosted\n"
        "file = File(Path(sys.argv[1]), Format(sys.argv[2]), TransactionPosted)\n"
        "count = sum(len(chunk.items) for chunk in chunks(file, Layout(source='core'), 0, 20_000))\n"
        # Not getrusage's: that begins at what the process had that started this one.
        "peak = re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]\n"
        "print(count, int(peak) // 1024)"
    )
    rows = as_csv(movements(4, 50, 5_000)).split("\r\n")
    for suffix, written in (("csv", "\n".join(rows[1:])), ("ndjson", ndjson(5_000))):
        peaks = []
        for times in (4, 40):
            path = tmp_path / f"t.{suffix}"
            with path.open("w") as file:
                if suffix == "csv":
                    file.write(rows[0] + "\n")
                for _ in range(times):
                    file.write(written if written.endswith("\n") else written + "\n")
            done = subprocess.run(
                [sys.executable, "-c", program, str(path), suffix],
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
            )
            count, peak = map(int, done.stdout.split())
            assert count >= times * 5_000
            peaks.append(peak)
        assert peaks[1] < peaks[0] + 30, peaks
        assert peaks[1] < 250, peaks


def ndjson(count: int) -> str:
    return "\n".join(msgspec.json.encode(event).decode() for event in movements(4, 50, count))


async def test_a_position_that_another_moved_is_not_moved_again(database: Database) -> None:
    """Also when the lock of whoever began is gone with its connection: nothing of the rows is kept."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [read_cloud_event(line, received_at=now) for line in lines(static(1)).split(b"\n")]
    rules = Rules(partitions=PARTITIONS, tolerance_minor=100)

    async def load(expected: int) -> None:
        async with database.transaction() as session:
            begun = await begin_backfill(session, path="a.csv", content="c", reading="r", again=False)
            await load_rows(
                session,
                begun.backfill_id,
                rows[expected : expected + 2],
                expected=expected,
                next_position=expected + 2,
                most_parked=0,
                rules=rules,
                now=now,
            )

    await load(0)
    with pytest.raises(LoadedElsewhere):
        await load(0)
    before = await state(database)
    with pytest.raises(LoadedElsewhere):
        await load(1)
    assert await state(database) == before
    await load(2)
    assert position(database) == 4


async def test_a_parquet_file_that_is_none_is_told_in_one_line(database: Database, tmp_path: Path) -> None:
    """What holds DuckDB when the process ends has it write sixty more."""
    path = tmp_path / "transactions.parquet"
    path.write_bytes(b"PAR1, which it is not")
    (said,) = run(database, path, "--source=core", status=1)["error"].splitlines()
    assert said.startswith("branchline: transactions.parquet after row 0: ")
