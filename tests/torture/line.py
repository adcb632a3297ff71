"""The whole line as it is run: services as processes, Apache Kafka, PostgreSQL, each behind a fault proxy."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from services.catalog import SERVICES
from services.line import provision
from shared.embedded_postgres import EmbeddedPostgres, start_postgres
from shared.events import TOPICS
from shared.keyring import AuditKeys
from shared.mail_sink import kept_mails, smtp_sink
from shared.messaging.kafka import create_topics
from shared.messaging.kafka_connection import KafkaConnection
from shared.settings import Environment
from tests.kafka_broker import KafkaBroker, free_ports
from tests.keys import MASTER_KEYS
from tests.torture.proxy import FaultProxy
from tests.torture.sabotage import TABLES
from tests.torture.workers import ROOT, Worker, serve_command

LOGS = ROOT / ".cache" / "torture"
PARTITIONS = 4
AUDIT_KEYS = AuditKeys.generate().written()
REPLICAS = {"customer": 2, "scoring": 2, "interaction": 1, "notification": 1}
"""Two where a partition is to change hands while its former reader is only paused."""
POSTGRES_GONE_WITHIN_SECONDS = 10.0
POSTGRES_BACK_WITHIN_SECONDS = 60.0

# Each move of an offset is noted in the transaction that makes it: nothing is missed between two looks.
NOTE_MOVES = """
create table torture_move (
    id bigint generated always as identity primary key,
    at timestamptz not null default clock_timestamp(),
    topic text not null,
    partition int not null,
    before bigint not null,
    after bigint not null,
    application text not null default current_setting('application_name'),
    backend int not null default pg_backend_pid()
);
create function torture_note_move() returns trigger language plpgsql as $$
begin
    insert into torture_move (topic, partition, before, after)
    values (new.topic, new.partition, old.next_offset, new.next_offset);
    return null;
end $$;
create trigger torture_move after update of next_offset on consumer_offset
    for each row execute function torture_note_move();
"""


class Line:
    """`workers` by name; `broker_proxy` and `postgres_proxy` are what the services, and this program's clients of
    Kafka, go through. This program's own connections to PostgreSQL do not."""

    def __init__(self, *, without: str | None = None, replicas: dict[str, int] | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="branchline-torture-"))
        self.home.chmod(0o755)  # as root PostgreSQL runs as somebody else, who has to reach its folder
        self.broker_proxy = FaultProxy()
        self.postgres_proxy = FaultProxy()
        self.workers: dict[str, Worker] = {}
        self._without = without
        self._replicas = REPLICAS if replicas is None else replicas
        self._mails = _MailSink(self.home / "mails")
        self.postgres: EmbeddedPostgres
        self.broker: KafkaBroker

    @contextmanager
    def up(self) -> Iterator[None]:
        """Everything, with empty databases, until the context ends. Raises NoKafka."""
        try:
            self._start_servers()
            self._start_workers()
            yield
        except BaseException:
            self.keep_logs()
            raise
        finally:
            self._down()

    @property
    def kafka(self) -> KafkaConnection:
        return KafkaConnection(f"127.0.0.1:{self.broker_proxy.port}")

    def _start_servers(self) -> None:
        self.broker_proxy.start()
        self.postgres_proxy.start()
        self._mails.start()
        advertised = f"PLAINTEXT://127.0.0.1:{self.broker_proxy.port}"
        (self.home / "kafka").mkdir()
        self.broker = KafkaBroker(self.home / "kafka", settings={"advertised.listeners": advertised})
        self.broker.start()
        self.broker_proxy.target = ("127.0.0.1", self.broker.port)
        self.postgres = start_postgres(self.home / "postgres")
        self._find_socket()
        with psycopg.connect(self.postgres.url("postgres", "postgres"), autocommit=True) as connection:
            # What is killed here are processes: what they wrote, the machine still has.
            connection.execute("alter system set fsync = off")
            connection.execute("select pg_reload_conf()")
        asyncio.run(self._migrate())
        for service in SERVICES:
            with self.connect(service) as connection:
                connection.execute(NOTE_MOVES)
        if self._without in TABLES:
            service, statement = TABLES[self._without]
            with self.connect(service) as connection:
                connection.execute(statement)

    async def _migrate(self) -> None:
        for database in (await provision(self.postgres)).values():
            await database.close()
        await create_topics(self.kafka, TOPICS, PARTITIONS)

    def _find_socket(self) -> None:
        folder = self.postgres.server.get_postmaster_info().socket_dir
        assert folder is not None
        self.postgres_proxy.target = Path(folder) / ".s.PGSQL.5432"

    def _start_workers(self) -> None:
        names = [f"{service}.{replica}" for service, count in self._replicas.items() for replica in range(count)]
        for name, port in zip(names, free_ports(len(names)), strict=True):
            service = name.partition(".")[0]
            command = serve_command(service, port, self._without)
            worker = Worker(name, port, command, self._environment(name, service), self.home / f"{name}.log")
            self.workers[name] = worker
            worker.start()
        for worker in self.workers.values():
            worker.wait_until_it_serves()

    def _environment(self, name: str, service: str) -> dict[str, str]:
        inherited = {
            variable: value
            for variable, value in os.environ.items()
            if not variable.startswith(("BRANCHLINE_", *(f"{each.upper()}_" for each in SERVICES)))
        }
        at = f"@127.0.0.1:{self.postgres_proxy.port}/{service}?application_name={name}"
        return inherited | {
            "BRANCHLINE_KAFKA": f"127.0.0.1:{self.broker_proxy.port}",
            "BRANCHLINE_PARTITIONS": str(PARTITIONS),
            "BRANCHLINE_AUDIT_KEYS": AUDIT_KEYS,
            "BRANCHLINE_ENVIRONMENT": "demo",
            "BRANCHLINE_MASTER_KEYS": MASTER_KEYS.written(),
            f"{service.upper()}_DATABASE_URL": f"postgresql://{service}{at}",
            f"{service.upper()}_REQUESTS_DATABASE_URL": f"postgresql://{service}_api{at}",
            "NOTIFICATION_SMTP_HOST": "127.0.0.1",
            "NOTIFICATION_SMTP_PORT": str(self._mails.port),
            "NOTIFICATION_SMTP_TLS": "none",
            "NOTIFICATION_SMTP_TIMEOUT_SECONDS": "5",
        }

    def check(self) -> None:
        """Raises Ended for a process that ended without being told to."""
        for worker in self.workers.values():
            worker.check()

    def of(self, service: str) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.service == service]

    def connect(self, service: str) -> psycopg.Connection[Any]:
        """As the database's owner, past the proxy; each statement commits by itself."""
        return psycopg.connect(
            self.postgres.url(service, service),
            autocommit=True,
            connect_timeout=60,  # of a server that is there and has no processor to answer with
            application_name="torture",
        )

    def rows(self, service: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self.connect(service) as connection:
            return connection.execute(query, parameters).fetchall()

    def mails(self) -> list[str]:
        """The Message-IDs of the mails that were accepted, without their domain."""
        return [mail.name.partition("@")[0] for mail in kept_mails(self.home / "mails")]

    def kill_postgres(self) -> None:
        """The postmaster and every process of it at once, as a power cut would."""
        postmaster = self.postgres.server.get_postmaster_info().pid
        assert postmaster is not None
        for process in [postmaster, *_children(postmaster)]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + POSTGRES_GONE_WITHIN_SECONDS
        while self.postgres.server.get_postmaster_info().is_running():
            if time.monotonic() > deadline:
                raise TimeoutError("PostgreSQL does not end")
            time.sleep(0.05)

    def start_postgres(self) -> None:
        """Recovers it from its log."""
        deadline = time.monotonic() + POSTGRES_BACK_WITHIN_SECONDS
        while True:
            try:
                self.postgres.revive()
                break
            except subprocess.SubprocessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        self._find_socket()

    def keep_logs(self) -> None:
        """In LOGS, over those of an earlier run."""
        LOGS.mkdir(parents=True, exist_ok=True)
        for log in [*self.home.glob("*.log"), self.home / "postgres" / "log", self.home / "kafka" / "broker.log"]:
            if log.exists():
                shutil.copyfile(log, LOGS / log.name)

    def _down(self) -> None:
        for worker in self.workers.values():
            worker.kill()
        if hasattr(self, "broker"):
            self.broker.kill()
        if hasattr(self, "postgres"):
            with suppress(subprocess.SubprocessError):
                self.postgres.stop()
        self._mails.stop()
        self.broker_proxy.stop()
        self.postgres_proxy.stop()
        shutil.rmtree(self.home, ignore_errors=True)


def _children(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(pid) for pid, parent in map(str.split, listed.splitlines()) if int(parent) == process]


class _MailSink:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listening = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._enough = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self.port = 0

    def start(self) -> None:
        self._thread.start()
        self._listening.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._enough.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        async with smtp_sink(environment=Environment.DEMO, folder=self._folder) as self.port:
            self._listening.set()
            await self._enough.wait()


def names_of(workers: Sequence[Worker]) -> str:
    return ", ".join(worker.name for worker in workers)
