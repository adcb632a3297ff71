"""What sealing costs: a party at ingestion, and a search among many customers, in PostgreSQL and in Python.

`python -m bench.search [customers]`; prints one JSON object at its end.
"""

import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from feeds.sample_bank import names
from feeds.sample_bank.dice import Dice
from services.customer.domain.personal import PersonalDetails
from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.personal_details import seal, tokens_of
from services.customer.use_cases.portfolio import customers, search_customers
from services.customer.use_cases.receiving import Received, receive_fact
from shared.auth.principal import Principal, Role
from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres, start_postgres
from shared.events.corebanking import BranchRecorded, CoreBankingEvent, ManagerRecorded, PartyRecorded
from shared.ids import new_id
from shared.migrations import migrate
from shared.sealing.blind_index import BlindIndex
from shared.sealing.data_keys import DataKey, DataKeys
from shared.sealing.master_keys import LocalMasterKeys
from shared.web.transaction import open_session
from tests.keys import MASTER_KEYS

CUSTOMERS = 50_000
CHUNK = 2_000
PORTFOLIO = 250
"""Customers of a manager."""
TIMES = 15
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
RULES = Rules(partitions=4, tolerance_minor=0)


def bank(count: int) -> list[CoreBankingEvent]:
    dice = Dice(7, "search")
    managers = range(1 + count // PORTFOLIO)
    return [
        BranchRecorded(branch_id="B1", revision=1, name="One"),
        *(
            ManagerRecorded(manager_id=f"M{n}", revision=1, branch_id="B1", name="Staff", email=f"m{n}@bank.example")
            for n in managers
        ),
        *(
            PartyRecorded(
                party_id=f"P{n}",
                revision=1,
                customer_number=str(10_000_000 + n),
                branch_id="B1",
                manager_id=f"M{n // PORTFOLIO}",
                name=names.person(dice),
                birth_on=date(1980, 2, 29),
                phone=names.phone(n),
                email=names.email(n),
                address=names.address(dice, "安港"),
                document_number=f"E{n:08d}",
            )
            for n in range(count)
        ),
    ]


def received(number: int, of: CoreBankingEvent) -> Received:
    return receive_fact("core", f"e-{number}", NOW, of, received_at=NOW, line=number)


async def load(database: Database, events: list[CoreBankingEvent]) -> float:
    """Python's CPU seconds."""
    began = time.process_time()
    for first in range(0, len(events), CHUNK):
        async with database.transaction() as session:
            chunk = [received(first + n, one) for n, one in enumerate(events[first : first + CHUNK])]
            await receive_events(session, chunk, rules=RULES, now=NOW)
    return time.process_time() - began


def sealing(count: int = 5_000) -> dict[str, float]:
    """Microseconds of CPU a party, of what sealing adds in Python."""
    parties = [e for e in bank(count) if isinstance(e, PartyRecorded)]
    people = [PersonalDetails(p.name, p.birth_on, p.phone, p.email, p.address, p.document_number) for p in parties]
    index, key = BlindIndex(bytes(32)), DataKey(new_id(), bytes(32))
    began = time.process_time()
    for person in people:
        seal(key, person)
    sealed = time.process_time()
    tokens = sum(len(tokens_of(index, person)) for person in people)
    ended = time.process_time()
    return {
        "seal_us": round((sealed - began) / count * 1e6, 1),
        "tokens_us": round((ended - sealed) / count * 1e6, 1),
        "tokens_of_a_party": round(tokens / count, 1),
    }


class Clocked:
    """Milliseconds that statements of an engine took, from sent to answered."""

    def __init__(self, database: Database) -> None:
        self.spent = 0.0
        engine = database.requests.sync_engine
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)

    def _before(self, connection: Any, *_: Any) -> None:
        connection.info["sent_at"] = time.perf_counter()

    def _after(self, connection: Any, *_: Any) -> None:
        self.spent += (time.perf_counter() - connection.info["sent_at"]) * 1e3


async def clocked(
    database: Database, clock: Clocked, actor: Principal, work: Callable[[AsyncSession], Awaitable[int]]
) -> dict[str, float]:
    """Medians of some runs, the first not among them."""
    walls, queries, cpus, found = [], [], [], 0
    for _ in range(TIMES + 1):
        async with open_session(database.requests, actor, 30, data_keys=database.data_keys) as session:
            await session.execute(text("select 1"))
            clock.spent, wall, cpu = 0.0, time.perf_counter(), time.process_time()
            found = await work(session)
            walls.append((time.perf_counter() - wall) * 1e3)
            queries.append(clock.spent)
            cpus.append((time.process_time() - cpu) * 1e3)
    wall, query, cpu = (round(statistics.median(series[1:]), 1) for series in (walls, queries, cpus))
    return {"ms": wall, "statements_ms": query, "python_cpu_ms": cpu, "found": found}


async def measure(postgres: EmbeddedPostgres, count: int) -> dict[str, Any]:
    postgres.provision("search", "customer", "customer_api")
    await migrate("customer", postgres.url("customer", "search"))
    database = Database(postgres.url("customer", "search"), postgres.url("customer_api", "search"))
    database.data_keys = DataKeys(LocalMasterKeys(MASTER_KEYS))
    events = bank(count)
    some = next(e for e in events if isinstance(e, PartyRecorded) and e.party_id == "P300")
    spent = await load(database, events)
    async with database.jobs.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("vacuum analyze"))
        sizes = text("select pg_total_relation_size('customer_token'), (select count(*) from customer_token)")
        size, rows = (await connection.execute(sizes)).one()
    queries = {
        "family_character": "林",
        "family_and_given": (some.name or "")[:2],
        "latin_part": "alan",
        "latin_letter": "b",
        "phone": some.phone or "",
        "document": some.document_number or "",
        "number": "100003",
        "nobody": "zzyzx",
    }
    actors = {
        "head_office": Principal(subject="HO1", role=Role.HEAD_OFFICE, staff_id="HO1"),
        "manager": Principal(subject="M1", role=Role.MANAGER, staff_id="M1", branch_id="B1"),
    }
    clock = Clocked(database)
    searches: dict[str, Any] = {}

    async def page(session: AsyncSession) -> int:
        query = customers(branch_id=None, manager_id=None, is_assigned=None, has_left=None)
        return len((await session.scalars(query.limit(50))).all())

    for actor, principal in actors.items():
        searches[actor] = {"list_of_50": await clocked(database, clock, principal, page)}
        for name, asked in queries.items():

            async def search(session: AsyncSession, asked: str = asked) -> int:
                return len(await search_customers(session, asked))

            searches[actor][name] = await clocked(database, clock, principal, search)
    await database.close()
    return {
        "customers": count,
        "ingestion_python_cpu_us_a_party": round(spent / count * 1e6),
        **sealing(),
        "token_rows": rows,
        "token_bytes_a_customer": round(size / count),
        "search": searches,
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else CUSTOMERS
    folder = Path(tempfile.mkdtemp(prefix="branchline-search-"))
    folder.chmod(0o755)
    postgres = start_postgres(folder / "postgres")
    try:
        print(json.dumps(asyncio.run(measure(postgres, count)), ensure_ascii=False))
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
