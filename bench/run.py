"""One contender, once: a fresh database, its processes, its time, its processor time, and the check."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import monotonic, sleep
from typing import Any

import msgspec
import psycopg
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from bench.contender import Contender, Setup
from bench.input import Posted
from bench.servers import Cpu, Servers
from shared.ids import new_id
from shared.messaging import tables

LOOK_SECONDS = 0.005
PATIENCE_SECONDS = 300.0
FEWEST = 100  # records that a contender is measured with, if there are so many
_STANDS = "select count(*), coalesce(sum(next_offset), 0)::bigint from consumer_offset where topic = %s"


class Failed(Exception):
    """A contender's process ended before its work did, or never ended it."""


class Measured(msgspec.Struct, frozen=True):
    """`events` in `seconds`; processor time in microseconds an event; greatest resident memory of one process."""

    events: int
    seconds: float
    python_us: float
    postgres_us: float
    broker_us: float
    peak_bytes: int

    @property
    def rate(self) -> float:
        return self.events / self.seconds


def messaging_schema() -> str:
    """Branchline's own tables for messages."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's
    statements = []
    for table in tables.metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        statements += [str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes]
    return ";\n".join(statements) + ";\n"


def measure(contender: Contender, servers: Servers, setup: Setup, placed: Sequence[Sequence[Posted]]) -> Measured:
    """`placed` is what is in each partition. Raises NotExactlyOnce and Failed."""
    name = f"bench_{new_id().hex}"
    schema = messaging_schema() + contender.schema if contender.schema is not None else None
    database = servers.create_database(name, contender.owner, schema)
    wanted = max(min(FEWEST, setup.records), int(setup.records * contender.share))
    setup = msgspec.structs.replace(setup, database=database, group=name, wanted=wanted)
    try:
        measured = _watch(contender, servers, setup)
        contender.check(setup, placed)
        return measured
    finally:
        servers.drop_database(name)


def _watch(contender: Contender, servers: Servers, setup: Setup) -> Measured:
    """From when the contender's offsets are first written until they have moved over the records wanted."""
    with ExitStack() as started, psycopg.connect(setup.database, autocommit=True) as connection:
        workers = [started.enter_context(Worker(contender.name, setup)) for _ in range(contender.processes)]
        for worker in workers:
            worker.wait_for("ready")
        servers.postgres.checkpoint()
        processes = [worker.process_id for worker in workers]

        def cpu() -> Cpu:
            return servers.cpu(processes, without_backend=connection.info.backend_pid)

        def stands() -> tuple[int, int]:
            for worker in workers:
                worker.raise_if_ended()
            return standing(connection, setup.topic)

        for worker in workers:
            worker.tell("go")
        if contender.moves_offsets:
            _wait_until(lambda: stands()[0] > 0)
            began, cpu_before = monotonic(), cpu()
            _wait_until(lambda: stands()[1] >= setup.wanted)
            seconds, events = monotonic() - began, stands()[1]
        else:
            began, cpu_before = monotonic(), cpu()
            for worker in workers:
                worker.wait_for("done")
            seconds, events = monotonic() - began, setup.wanted
        used = cpu().since(cpu_before)
        for worker in workers:
            worker.let_go()
        peak = max(worker.finish() for worker in workers)
    micros = [1e6 * each / events for each in used]
    return Measured(events, seconds, micros[0], micros[1], micros[2], peak)


def standing(connection: psycopg.Connection[Any], topic: str) -> tuple[int, int]:
    """How many partitions have an offset, and how many records are done with."""
    row = connection.execute(_STANDS, [topic]).fetchone()
    assert row is not None, "an aggregate has a row"
    return row[0], row[1]


def _wait_until(there: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while not there():
        if monotonic() > deadline:
            raise Failed(f"not done after {PATIENCE_SECONDS:.0f} s")
        sleep(LOOK_SECONDS)


class Worker:
    """A process of a contender (`bench/worker.py`)."""

    def __init__(self, name: str, setup: Setup) -> None:
        self._name = name
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a name of ours
            [sys.executable, "-m", "bench.worker", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.process_id = self._process.pid
        self.tell(msgspec.json.encode(setup).decode())

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with self._process:  # closes its pipes and waits for it
            pass

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def wait_for(self, line: str) -> None:
        if (said := self._read()) != line:
            raise Failed(f"{self._name} said {said!r} where {line!r} was to be said")

    def raise_if_ended(self) -> None:
        if self._process.poll() is not None:
            raise Failed(f"{self._name} ended with {self._process.returncode}")

    def let_go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def finish(self) -> int:
        """Waits for its end; returns the greatest memory that it had, in bytes."""
        while (said := self._read()) == "done":
            pass
        if self._process.wait(PATIENCE_SECONDS) or not said.isdigit():
            raise Failed(f"{self._name} did not let go: {self._process.returncode}, {said!r}")
        return int(said)

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
