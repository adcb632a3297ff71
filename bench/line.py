"""The real line as it is installed: `branchline serve` four times, on the bench's Kafka and PostgreSQL."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import monotonic, sleep

import psycopg
from aiokafka import AIOKafkaProducer

from bench.input import holders
from bench.run import Failed
from bench.servers import Servers, peak_bytes
from services.catalog import SERVICES
from shared.events import TOPICS, encode
from shared.events.corebanking import (
    AccountKind,
    AccountRecorded,
    BranchRecorded,
    ComplaintOutcome,
    ComplaintRecorded,
    CoreBankingEvent,
    PartyRecorded,
    PartyRelation,
    RelatedParty,
    SurveyAnswered,
)
from shared.ids import new_id
from shared.messaging.kafka import create_topics
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.partitioning import partition_of
from shared.messaging.records import event_headers
from shared.migrations import migrate
from tests.kafka_broker import free_ports

SECRETS = Path(__file__).resolve().parent.parent / "deploy" / "compose" / "secrets"
PARTITIONS = 4
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 300.0
TOLD_BYTES = 4_000
# So that an observer hears of an alert when, and only when, it has been committed.
_TELL_ALERTS = """
create function tell_alert() returns trigger language plpgsql as $$
begin perform pg_notify('alert', new.customer_id::text); return null; end $$;
create trigger tell_alert after insert on churn_alert for each row execute function tell_alert();
"""


@dataclass(frozen=True)
class Line:
    """`databases` are the owners' URLs by service; `processes` by service."""

    bootstrap: str
    databases: dict[str, str]
    processes: dict[str, "subprocess.Popen[bytes]"]

    def count(self, service: str, statement: str) -> int:
        with psycopg.connect(self.databases[service]) as connection:
            row = connection.execute(statement.encode()).fetchone()
            assert row is not None, "it counts"
            return int(row[0])

    def wait_until(self, service: str, statement: str, count: int) -> None:
        """Raises Failed when a service has ended or it takes too long."""
        deadline = monotonic() + PATIENCE_SECONDS
        while (there := self.count(service, statement)) < count:
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            if ended or monotonic() > deadline:
                raise Failed(f"{there} of {count} came to {service}; ended: {ended}")
            sleep(LOOK_SECONDS)

    def peak_bytes(self) -> dict[str, int]:
        """The greatest resident memory of each service so far."""
        return {name: peak_bytes(process.pid) for name, process in self.processes.items()}


@contextmanager
def started_line(servers: Servers) -> Iterator[Line]:
    """The four services on databases and topics of their own. What they said last is told when anything fails."""
    asyncio.run(create_topics(KafkaConnection(servers.bootstrap), TOPICS, PARTITIONS))
    databases = {}
    environment = {
        **os.environ,
        **_secrets(),
        "BRANCHLINE_ENVIRONMENT": "demo",
        "BRANCHLINE_KAFKA": servers.bootstrap,
        "BRANCHLINE_PARTITIONS": str(PARTITIONS),
    }
    for service in SERVICES:
        name = f"line_{service}"
        databases[service] = servers.create_database(name, service)
        asyncio.run(migrate(service, databases[service]))
        environment[f"{service.upper()}_DATABASE_URL"] = databases[service]
        requests = servers.postgres.url(f"{service}_api", name)
        environment[f"{service.upper()}_REQUESTS_DATABASE_URL"] = requests
    with psycopg.connect(databases["scoring"]) as connection:
        connection.execute(_TELL_ALERTS.encode())
    branchline = Path(sys.executable).with_name("branchline")
    processes = {}
    with tempfile.TemporaryFile() as said:
        try:
            for service, port in zip(SERVICES, free_ports(len(SERVICES)), strict=True):
                processes[service] = subprocess.Popen(  # noqa: S603 - our own command
                    [str(branchline), "serve", service, "--port", str(port)],
                    env=environment,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                )
            yield Line(servers.bootstrap, databases, processes)
        except BaseException:
            said.seek(max(0, said.tell() - TOLD_BYTES))
            sys.stderr.buffer.write(said.read())
            raise
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.wait(30)
            for service in SERVICES:
                servers.drop_database(f"line_{service}")


def _secrets() -> dict[str, str]:
    """Fresh ones of every kind that an installation needs."""
    made = subprocess.run([str(SECRETS)], capture_output=True, text=True, check=True).stdout  # noqa: S603 - of the tree
    return dict(line.split("=", 1) for line in made.splitlines())


async def send(bootstrap: str, events: Sequence[CoreBankingEvent]) -> None:
    """Appends the core's events to its topic, in order for each key."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=5) as producer:
        sent = [await send_one(producer, event) for event in events]
        await asyncio.gather(*sent)


async def send_one(producer: AIOKafkaProducer, event: CoreBankingEvent) -> "asyncio.Future[object]":
    """Returns the future of the acknowledgement."""
    key = event.key.encode()
    headers = list(event_headers(new_id(), event.TYPE, datetime.now(UTC), None))
    partition = partition_of(key, PARTITIONS)
    future: asyncio.Future[object] = await producer.send(
        event.TOPIC, encode(event), key=key, headers=headers, partition=partition
    )
    return future


def seed(line: Line, customers: int, probes: int) -> None:
    """A bank, of which the first `probes` customers lack one event that nobody can take back for an alert."""
    accounts = list(holders(customers))
    events: list[CoreBankingEvent] = [BranchRecorded(branch_id="B1", revision=1, name="Branch")]
    events += [
        PartyRecorded(party_id=f"P{each}", revision=1, customer_number=each, branch_id="B1") for each in accounts
    ]
    events += [
        AccountRecorded(
            account_id=each,
            revision=1,
            kind=AccountKind.CURRENT,
            currency="EUR",
            parties=(RelatedParty(party_id=f"P{each}", relation=PartyRelation.HOLDER),),
            opened_on=date(2020, 1, 1),
        )
        for each in accounts
    ]
    asyncio.run(send(line.bootstrap, events))
    line.wait_until("scoring", "select count(*) from customer_score", customers)
    # 30 points of a rejected complaint and 10 of a poor survey: 10 short of the threshold.
    noon = datetime.combine(datetime.now(UTC).date() - timedelta(days=2), time(12), UTC)
    before: list[CoreBankingEvent] = []
    for each in accounts[:probes]:
        before += [
            ComplaintRecorded(
                complaint_id=f"C{each}",
                revision=1,
                party_id=f"P{each}",
                opened_at=noon,
                resolved_at=noon,
                outcome=ComplaintOutcome.REJECTED,
            ),
            SurveyAnswered(survey_id=f"S{each}", party_id=f"P{each}", answered_at=noon, score=5),
        ]
    asyncio.run(send(line.bootstrap, before))
    line.wait_until("scoring", "select count(*) from customer_fact", 2 * probes)
