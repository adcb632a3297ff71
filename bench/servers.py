"""The servers that a bench starts for itself on loopback, and the processor time of each."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql

from shared.embedded_postgres import EmbeddedPostgres, start_postgres
from tests.kafka_broker import KafkaBroker

BROKER_SETTINGS = {
    "broker.session.timeout.ms": "30000",  # a broker that waits for a processor is not away
    "group.initial.rebalance.delay.ms": "500",  # so that processes that start together share from the beginning
}
_TICKS = os.sysconf("SC_CLK_TCK")


class NotDurable(Exception):
    """The database does not wait for the disk: what is measured would not be what a bank runs."""


class Cpu(NamedTuple):
    """Processor seconds, user and system."""

    python: float
    postgres: float
    broker: float

    def since(self, before: "Cpu") -> "Cpu":
        return Cpu(*(now - then for now, then in zip(self, before, strict=True)))


@dataclass(frozen=True)
class Servers:
    """`broker_process` is None where the broker is another's and its processor time is not told."""

    postgres: EmbeddedPostgres
    bootstrap: str
    broker_process: int | None = None

    def create_database(self, name: str, owner: str, schema: str | None = None) -> str:
        """A fresh database with the schema; returns its owner's URL."""
        self.postgres.provision(name, owner, f"{owner}_api")
        url = self.postgres.url(owner, name)
        with psycopg.connect(url) as connection:
            if schema:
                connection.execute(schema.encode())
        return url

    def drop_database(self, name: str) -> None:
        with psycopg.connect(self.postgres.url("postgres", "postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def cpu(self, python: list[int], *, without_backend: int = 0) -> Cpu:
        """Of these Python processes, and of the servers so far; without the backend of whoever watches."""
        postmaster = self.postgres.server.get_postmaster_info().pid
        return Cpu(
            sum(seconds_of(process) for process in python),
            # The postmaster's own account has the children that have ended.
            seconds_of(postmaster, with_ended_children=True)
            + sum(seconds for process, seconds in children_of(postmaster) if process != without_backend),
            seconds_of(self.broker_process) if self.broker_process is not None else 0.0,
        )


@contextmanager
def started_servers() -> Iterator[Servers]:
    """Raises NoKafka, with what is missing, and NotDurable."""
    with tempfile.TemporaryDirectory(prefix="branchline-bench-") as folder:
        Path(folder).chmod(0o755)
        broker = KafkaBroker(settings=BROKER_SETTINGS)
        postgres = start_postgres(Path(folder) / "postgres")
        try:
            _refuse_what_is_not_durable(postgres)
            broker.start()
            yield Servers(postgres, broker.bootstrap, broker.process_id)
        finally:
            broker.stop()
            postgres.stop()


def _refuse_what_is_not_durable(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url("postgres", "postgres")) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            value = connection.execute("select current_setting(%s)", [setting]).fetchone()
            if value != ("on",):
                raise NotDurable(f"{setting} is {value and value[0]}")


def peak_bytes(process: int | str) -> int:
    """The greatest resident memory of a process since it began its program, in bytes."""
    return _status_bytes(process, "VmHWM")


def resident_bytes(process: int | str) -> int:
    """The resident memory of a process now, in bytes."""
    return _status_bytes(process, "VmRSS")


def _status_bytes(process: int | str, field: str) -> int:
    """From what proc(5) calls `status`, which counts in units of 1024."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise ProcessLookupError(f"{process} has ended")


def _fields(process: int) -> list[str]:
    """What proc(5) calls `stat`, from its third field, the state, on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()


def seconds_of(process: int, *, with_ended_children: bool = False) -> float:
    times = _fields(process)[11 : 15 if with_ended_children else 13]
    return sum(map(int, times)) / _TICKS


def children_of(parent: int) -> list[tuple[int, float]]:
    """Each process that it has begun and that runs, and its processor seconds."""
    children = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            process = int(entry.name)
            try:
                if int(_fields(process)[1]) == parent:
                    children.append((process, seconds_of(process)))
            except (FileNotFoundError, ProcessLookupError):  # it has ended since; its parent's account has it
                continue
    return children
