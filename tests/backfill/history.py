"""A small bank's history from a seed, as events and as the files that a data team writes; and what it must become."""

import csv
import gzip
import io
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text

from shared.database import Database
from shared.events import decode
from shared.events.corebanking import CoreBankingEvent, TransactionKind, TransactionPosted, TransactionReversed
from shared.events.customer import TransactionsPosted
from tests.audit.ledger import KEYS as AUDIT_KEYS
from tests.bank import account, branch, manager_recorded, party
from tests.keys import MASTER_KEYS

FIRST_DAY = date(2025, 1, 1)
NAMES = ("陈 伟", "Jana Nováková", 'Ann "Nan" O’Neil', "Li, Na", "Ólafur\nÞór")


def static(customers: int) -> list[CoreBankingEvent]:
    events: list[CoreBankingEvent] = [branch(), manager_recorded()]
    events += [party(f"P{n}", name=NAMES[n % len(NAMES)]) for n in range(customers)]
    events += [account(f"A{n}", f"P{n}", opened_on=FIRST_DAY) for n in range(customers)]
    return events


def movements(seed: int, customers: int, count: int) -> list[TransactionPosted]:
    dice = random.Random(seed)
    kinds = list(TransactionKind)
    return [
        TransactionPosted(
            account_id=f"A{dice.randrange(customers)}",
            transaction_id=f"T{number:07d}",
            booked_on=FIRST_DAY + timedelta(days=number * 300 // count),
            sequence=number,
            amount_minor=dice.randrange(-500_000, 500_000),
            currency="CNY",
            kind=dice.choice(kinds),
            balance_after_minor=dice.choice((None, dice.randrange(1_000_000))),
            counterparty_bank=dice.choice((None, "BANK2")),
        )
        for number in range(count)
    ]


def reversals(of: Sequence[TransactionPosted], every: int) -> list[TransactionReversed]:
    return [
        TransactionReversed(
            account_id=each.account_id,
            transaction_id=f"R{each.transaction_id}",
            reverses_transaction_id=each.transaction_id,
            booked_on=each.booked_on + timedelta(days=3),
        )
        for each in of[::every]
    ]


def rows_of(events: Iterable[CoreBankingEvent]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [msgspec.to_builtins(event) for event in events]
    for row in rows:
        if "parties" in row:
            row["holder"] = row.pop("parties")[0]["party_id"]
    return rows


def as_csv(events: Iterable[CoreBankingEvent]) -> str:
    return table(rows_of(events))


def table(rows: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    written = io.StringIO()
    writer = csv.DictWriter(written, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def write_csv(path: Path, events: Iterable[CoreBankingEvent]) -> Path:
    encoded = as_csv(events).encode()
    path.write_bytes(gzip.compress(encoded) if path.suffix == ".gz" else encoded)
    return path


def write_folder(folder: Path, customers: int, transactions: Sequence[CoreBankingEvent]) -> Path:
    """The whole history as CSV, a file for each type, named as the command knows them."""
    folder.mkdir(exist_ok=True)
    called = {"branch": "branches", "manager": "managers", "party": "parties", "account": "accounts"}
    for kind, name in called.items():
        some = [event for event in static(customers) if f"corebanking.{kind}_recorded.v1" == event.TYPE]
        write_csv(folder / f"{name}.csv", some)
    write_csv(folder / "transactions.csv", [t for t in transactions if isinstance(t, TransactionPosted)])
    reversed_ = [t for t in transactions if isinstance(t, TransactionReversed)]
    if reversed_:
        write_csv(folder / "reversals.csv", reversed_)
    return folder


def command(database: Database, *arguments: str | Path) -> tuple[list[str], dict[str, str]]:
    """The program and its environment, as an operator would run it."""
    environment = {
        **os.environ,
        "CUSTOMER_DATABASE_URL": database.jobs_url,
        "BRANCHLINE_PARTITIONS": "4",
        "BRANCHLINE_MASTER_KEYS": MASTER_KEYS.written(),
        "BRANCHLINE_AUDIT_KEYS": AUDIT_KEYS.written(),
    }
    return [sys.executable, "-m", "services.cli", "backfill", *map(str, arguments)], environment


def run(database: Database, *arguments: str | Path, status: int = 0) -> dict[str, Any]:
    """What the summary says; or, of a run that should fail, its `error`."""
    program, environment = command(database, *arguments, "--json")
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == status, done.stderr
    summary: dict[str, Any] = msgspec.json.decode(done.stdout) if status == 0 else {}
    return {**summary, "error": done.stderr}


async def state(database: Database) -> dict[str, Any]:
    """All that the core's events became, by the core's own ids; what is drawn by lot or by the clock is left out."""
    queries = {
        "customers": "select source, party_id, revision, fingerprint, customer_number, branch_id, manager_id,"
        " customer_since, left_on from customer order by 1, 2",
        "accounts": "select a.source, core_account_id, a.revision, a.fingerprint, party_id, kind, currency,"
        " stated_minor, stated_on, stated_sequence, posted_since_minor, posted_minor, latest_on, latest_sequence,"
        " transaction_count from account a join customer using (customer_id) order by 1, 2",
        "postings": "select core_account_id, core_transaction_id, p.fingerprint, party_id, booked_on, sequence,"
        " amount_minor, p.kind, balance_after_minor, is_external, reverses_transaction_id from posting p"
        " join account a using (account_id) join customer c on c.customer_id = p.customer_id order by 1, 2",
        "waiting": "select count(*) from kept_event where waits_for is not null",
    }
    found: dict[str, Any] = {}
    async with database.jobs.connect() as connection:
        for name, query in queries.items():
            found[name] = [tuple(row) for row in await connection.execute(text(query))]
        rows = await connection.execute(text("select account_id, core_account_id from account"))
        accounts: dict[Any, str] = {row.account_id: row.core_account_id for row in rows}
        outbox = await connection.execute(text("select payload from outbox where type = :type"), _TELLS)
        told = [
            (accounts[each.account_id], each.booked_on, each.sequence, each.amount_minor, each.kind, each.is_reversal)
            for (payload,) in outbox
            for each in decode(TransactionsPosted, bytes(payload)).transactions
        ]
    found["told"] = sorted(told)
    return found


_TELLS = {"type": TransactionsPosted.TYPE}
