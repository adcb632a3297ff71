"""`python -m bench.backfill`: `branchline backfill` beside a bare COPY of the same rows into the same table.

Both write the ledger, `posting`, of a customer service's database that has the accounts; in turns, on the same server.
The COPY has its rows ready and does nothing else. A backfill reads a file with some of the rows twice, in each format.
"""

import argparse
import asyncio
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any, NamedTuple
from uuid import UUID

import duckdb
import msgspec
import psycopg

from bench.check import NotExactlyOnce
from bench.input import generate, holders
from bench.servers import children_of, peak_bytes, seconds_of
from services.customer.use_cases.ledger import Posting
from shared.embedded_postgres import EmbeddedPostgres, start_postgres
from shared.events.corebanking import TransactionKind
from shared.keyring import AuditKeys, MasterKeyring
from shared.migrations import migrate

ROWS, ROUNDS, CUSTOMERS, SEED, BATCH = 400_000, 5, 20_000, 4, 20_000
SERVICE = "customer"
KEYS = {
    "BRANCHLINE_MASTER_KEYS": MasterKeyring.generate().written(),
    "BRANCHLINE_AUDIT_KEYS": AuditKeys.generate().written(),
}
_TYPES = ("uuid", "text", "int8", "uuid", "date", "int8", "int8", "text", "int8", "bool", "text")


class Measured(NamedTuple):
    """Rows a second, and processor time in microseconds a row."""

    rate: float
    python_us: float
    postgres_us: float
    peak_mib: float = 0.0


class Written(NamedTuple):
    """A file, and how the command is told to read it."""

    path: Path
    options: Sequence[str] = ()


class Files(NamedTuple):
    """`transactions` are the same in each format, by its name."""

    accounts: Sequence[Path]
    transactions: dict[str, Written]
    rows: int
    different: int


FORMATS = ("csv", "major", "ndjson", "parquet")
"""CSV without quotes; CSV with quotes, in major units, whose debits a column tells; objects; DuckDB's own."""


def write_files(folder: Path, rows: int, formats: Sequence[str] = ("csv",)) -> Files:
    """A bank of one branch and CUSTOMERS accounts, and its transactions, 5 % of them twice."""
    accounts = list(holders(CUSTOMERS))
    parties = [[f"P{number}", 1, f"N{number}", "B1"] for number in range(len(accounts))]
    opened = [[account, 1, "current", "EUR", "2020-01-01", f"P{number}"] for number, account in enumerate(accounts)]
    written = [
        _write(folder / "branches.csv", ["branch_id", "revision", "name"], [["B1", 1, "One"]]),
        _write(folder / "parties.csv", ["party_id", "revision", "customer_number", "branch_id"], parties),
        _write(folder / "accounts.csv", ["account_id", "revision", "kind", "currency", "opened_on", "holder"], opened),
    ]
    columns = ["account_id", "transaction_id", "booked_on", "sequence", "amount_minor", "currency", "kind"]
    columns += ["balance_after_minor"]
    transactions, different = [], set()
    for posted, _, _ in generate(SEED, rows, CUSTOMERS, 4):
        different.add((posted.account_id, posted.transaction_id))
        cells = [posted.account_id, posted.transaction_id, posted.booked_on, posted.number, posted.amount_minor, "EUR"]
        transactions.append([*cells, posted.kind, posted.balance_after_minor])
    written_as = {name: _WRITERS[name](folder, columns, transactions) for name in formats}
    return Files(written, written_as, rows, len(different))


def _plain(folder: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Written:
    return Written(_write(folder / "transactions.csv", columns, rows))


def _major(folder: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Written:
    path = folder / "transactions-major.csv"
    amount, balance = columns.index("amount_minor"), columns.index("balance_after_minor")
    with path.open("w", newline="") as text:
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerow([*(column.removesuffix("_minor") for column in columns), "debit"])
        for row in rows:
            cells = [*row, "D" if row[amount] < 0 else "C"]
            cells[amount], cells[balance] = f"{abs(row[amount]) / 100:.2f}", f"{row[balance] / 100:.2f}"
            writer.writerow(cells)
    return Written(path, ["--amounts=major", "--debit-when=debit=D"])


def _ndjson(folder: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Written:
    path = folder / "transactions.ndjson"
    with path.open("wb") as lines:
        lines.writelines(msgspec.json.encode(dict(zip(columns, row, strict=True))) + b"\n" for row in rows)
    return Written(path, ["--type=transaction_posted"])


def _parquet(folder: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Written:
    source, path = _write(folder / "source.csv", columns, rows), folder / "transactions.parquet"
    with duckdb.connect() as connection:
        connection.read_csv(str(source)).write_parquet(str(path))
    source.unlink()
    return Written(path)


_WRITERS = {"csv": _plain, "major": _major, "ndjson": _ndjson, "parquet": _parquet}


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def measure_backfill(postgres: EmbeddedPostgres, url: str, files: Files, read: Written) -> Measured:
    """Raises NotExactlyOnce."""
    began, cpu = perf_counter(), _cpu(postgres)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary, peak = _load(url, [read.path], read.options)
    seconds = perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    python = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    with psycopg.connect(url) as connection:
        posted = connection.execute("select count(*) from posting").fetchone()
    if posted != (files.different,) or summary["applied"] + summary["duplicate"] != files.rows:
        raise NotExactlyOnce(f"{posted} postings where {files.different} are right: {summary}")
    return Measured(
        files.rows / seconds,
        python / files.rows * 1e6,
        (_cpu(postgres) - cpu) / files.rows * 1e6,
        peak / 2**20,
    )


def _load(url: str, paths: Sequence[Path], options: Sequence[str] = ()) -> tuple[dict[str, int], int]:
    """The summary, and the process's greatest memory in bytes: its own, not what it had of the one that started it."""
    program = [sys.executable, "-m", "services.cli", "backfill", *map(str, paths), "--source=core", "--json", *options]
    environment = {**os.environ, **KEYS, "CUSTOMER_DATABASE_URL": url}
    peak = 0
    with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True) as loading:  # noqa: S603 - our own
        while loading.poll() is None:
            with suppress(OSError):  # it has ended
                peak = max(peak, peak_bytes(str(loading.pid)))
            sleep(0.05)
        written, _ = loading.communicate()
    if loading.returncode:
        raise subprocess.CalledProcessError(loading.returncode, program)
    summary: dict[str, int] = json.loads(written)
    return summary, peak


def measure_copy(postgres: EmbeddedPostgres, url: str, rows: Sequence[Posting]) -> Measured:
    """Everything is read and made before; a commit for each BATCH rows."""
    statement = f"copy posting ({', '.join(Posting._fields)}) from stdin (format binary)"
    with psycopg.connect(url) as connection:
        began, cpu, python = perf_counter(), _cpu(postgres), _own()
        for first in range(0, len(rows), BATCH):
            with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                copy.set_types(_TYPES)
                for row in rows[first : first + BATCH]:
                    copy.write_row(row)
            connection.commit()
        seconds = perf_counter() - began
        used, served = _own() - python, _cpu(postgres) - cpu
        connection.execute("truncate posting")
    return Measured(len(rows) / seconds, used / len(rows) * 1e6, served / len(rows) * 1e6)


def _ready_rows(url: str, files: Files) -> list[Posting]:
    with psycopg.connect(url) as connection:
        found = connection.execute("select core_account_id, account_id, customer_id from account").fetchall()
    accounts: dict[str, tuple[UUID, UUID]] = {core_id: (account, customer) for core_id, account, customer in found}
    once = {
        (sent.posted.account_id, sent.posted.transaction_id): sent.posted
        for sent in generate(SEED, files.rows, CUSTOMERS, 4)
    }
    return [
        Posting(
            account_id=accounts[posted.account_id][0],
            core_transaction_id=posted.transaction_id,
            fingerprint=posted.number,
            customer_id=accounts[posted.account_id][1],
            booked_on=posted.booked_on,
            sequence=posted.number,
            amount_minor=posted.amount_minor,
            kind=TransactionKind(posted.kind),
            balance_after_minor=posted.balance_after_minor,
            is_external=False,
            reverses_transaction_id=None,
        )
        for posted in once.values()
    ]


def _own() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu(postgres: EmbeddedPostgres) -> float:
    postmaster = postgres.server.get_postmaster_info().pid
    while True:
        with suppress(FileNotFoundError, ProcessLookupError):  # one ended meanwhile, and is in the postmaster's account
            return seconds_of(postmaster, with_ended_children=True) + sum(used for _, used in children_of(postmaster))


def _line(name: str, rounds: Sequence[Measured]) -> str:
    rate, python, served, peak = (median(values) for values in zip(*rounds, strict=True))
    memory = f"; {peak:,.0f} MiB" if peak else ""
    return (
        f"{name:10} {rate:>10,.0f} rows/s   µs a row: {python + served:6.1f}"
        f" (Python {python:.1f}, PostgreSQL {served:.1f}){memory}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.backfill", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=FORMATS)
    given = parser.parse_args()
    copies: list[Measured] = []
    backfills: dict[str, list[Measured]] = {name: [] for name in given.formats}
    with tempfile.TemporaryDirectory(prefix="branchline-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        files = write_files(folder, given.rows, given.formats)
        postgres = start_postgres(folder / "postgres")
        try:
            for turn in range(given.rounds):
                url = _bank(postgres, f"copy_{turn}", files)
                copies.append(measure_copy(postgres, url, _ready_rows(url, files)))
                print(f"round {turn + 1}  {_line('copy', copies[-1:])}", file=sys.stderr, flush=True)
                for read_as, written in files.transactions.items():
                    url = _bank(postgres, f"{read_as}_{turn}", files)
                    backfills[read_as].append(measure_backfill(postgres, url, files, written))
                    print(f"round {turn + 1}  {_line(read_as, backfills[read_as][-1:])}", file=sys.stderr, flush=True)
        finally:
            postgres.stop()
    print(_line("copy", copies))
    for read_as, rounds in backfills.items():
        print(_line(read_as, rounds))
    formats = {read_as: _result(rounds, copies) for read_as, rounds in backfills.items()}
    copy_us = round(median(copy.python_us + copy.postgres_us for copy in copies), 2)
    print(json.dumps({"rows": given.rows, "copy_us": copy_us, **formats[given.formats[0]], "formats": formats}))


def _bank(postgres: EmbeddedPostgres, database: str, files: Files) -> str:
    """The address of a new database that has the accounts, and nothing left to write."""
    postgres.provision(database, SERVICE, f"{SERVICE}_api")
    url = postgres.url(SERVICE, database)
    asyncio.run(migrate(SERVICE, url))
    _load(url, files.accounts)
    postgres.checkpoint()
    return url


def _result(rounds: Sequence[Measured], copies: Sequence[Measured]) -> dict[str, float]:
    rate, python, served, peak = (median(values) for values in zip(*rounds, strict=True))
    return {
        "rows_per_second": round(rate),
        "python_us": round(python, 2),
        "postgres_us": round(served, 2),
        "vs_copy": round(median(load.rate / copy.rate for load, copy in zip(rounds, copies, strict=True)), 3),
        "peak_mib": round(peak),
    }


if __name__ == "__main__":
    main()
