"""`make bench-http`: what authentication, row-level security and the audit cost a read, layer by layer, over HTTP."""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from time import monotonic, perf_counter

import msgspec
import psycopg

from bench.http_layers import Layer
from bench.http_server import issuer
from bench.servers import Servers
from services.customer.app import customer_service
from shared.audit.verification import verify_service
from shared.auth.principal import Role
from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres, start_postgres
from shared.keyring import AuditKeys
from shared.migrations import migrate
from tests.bank import branch, manager_recorded, party, push
from tests.harness import under_test

ROUNDS, SECONDS, CONNECTIONS, CUSTOMERS, MANAGERS = 7, 4.0, 16, 2_000, 10
WARM_UP_SECONDS = 0.5
PREPARED_AFTER = 25  # requests of a connection: psycopg prepares a statement the fifth time, PostgreSQL plans five more
START_SECONDS = 60.0
ROOT = Path(__file__).resolve().parent.parent


class Failed(Exception):
    """A server did not start, or an answer was not what was asked for."""


class Measured(msgspec.Struct, frozen=True):
    """`requests` in `seconds`; processor time in microseconds a request, of the server's process and of PostgreSQL."""

    requests: int
    seconds: float
    python_us: float
    postgres_us: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


class Reader(asyncio.Protocol):
    """One connection that asks, waits for the answer, and asks again; it reads no more of it than it must."""

    def __init__(self, requests: Sequence[bytes], random: Random) -> None:
        self.requests = requests
        self.random = random
        self.answered = 0
        self.fault: str | None = None
        self.stopped = False
        self.ended = asyncio.get_running_loop().create_future()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(body) < int(length):
            return
        if not head.startswith(b"HTTP/1.1 200") or b'"customer_number":"' not in body:
            self.fault = head.partition(b"\r\n")[0].decode() + " " + body.decode()[:300]
            self.stopped = True
        self._received = b""
        self.answered += 1
        self._ask()

    def _ask(self) -> None:
        if self.stopped:
            self.transport.close()
            return
        self.transport.write(self.random.choice(self.requests))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's
        if not self.stopped:
            self.fault = "the connection was closed"
        self.ended.set_result(None)


class Bank(msgspec.Struct, frozen=True):
    """A migrated database with customers, and requests for those of one manager."""

    jobs_url: str
    requests_url: str
    folder: Path
    keys: AuditKeys
    requests: list[bytes]


async def open_bank(postgres: EmbeddedPostgres, folder: Path) -> Bank:
    postgres.provision("customer", "customer", "customer_api")
    urls = postgres.url("customer", "customer"), postgres.url("customer_api", "customer")
    await migrate("customer", urls[0])
    database = Database(*urls)
    keys = AuditKeys.generate()
    events = [branch("B1"), *(manager_recorded(f"M{number}", "B1") for number in range(MANAGERS))]
    events += [party(f"P{number}", branch_id="B1", manager_id=f"M{number % MANAGERS}") for number in range(CUSTOMERS)]
    async with under_test(customer_service(partitions=4), database, audit_keys=keys) as customer:
        await push(customer, events)
        own = await customer.rows("select customer_id from customer where manager_id = 'M1'")
    with psycopg.connect(urls[0], autocommit=True) as connection:
        connection.execute("vacuum analyze")
    token = issuer(folder).mint(Role.MANAGER, staff_id="M1", branch_id="B1")
    requests = [
        f"GET /api/customer/v1/customers/{customer_id} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Accept: application/json\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        for (customer_id,) in own
    ]
    return Bank(*urls, folder, keys, requests)


@contextmanager
def serving(layer: Layer, bank: Bank) -> Iterator[tuple[int, int]]:
    """The port and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = [layer, str(port), bank.jobs_url, bank.requests_url, str(bank.folder), bank.keys.written()]
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench.http_server", *told], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        until = monotonic() + START_SECONDS
        while True:
            with socket.socket() as trying:
                if trying.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or monotonic() > until:
                raise Failed(f"{layer} does not serve")
            asyncio.run(asyncio.sleep(0.05))
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _same(reader: Reader) -> Reader:
    return reader


async def ask(port: int, requests: Sequence[bytes], seconds: float, connections: int, seed: int) -> tuple[int, float]:
    """How many answers came, and in how many seconds. Raises Failed for one that is not a customer."""
    loop = asyncio.get_running_loop()
    began = perf_counter()
    readers = []
    for number in range(connections):
        reader = Reader(requests, Random(seed * 1000 + number))  # noqa: S311 - which customer is read
        readers.append(reader)
        await loop.create_connection(partial(_same, reader), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    answered, elapsed = sum(reader.answered for reader in readers), perf_counter() - began
    for reader in readers:
        reader.stopped = True
    await asyncio.gather(*(reader.ended for reader in readers))
    for reader in readers:
        if reader.fault:
            raise Failed(reader.fault)
    return answered, elapsed


def measure(postgres: EmbeddedPostgres, bank: Bank, port: int, process: int, seconds: float, seed: int) -> Measured:
    asyncio.run(ask(port, bank.requests, WARM_UP_SECONDS, CONNECTIONS, seed))
    servers = Servers(postgres, "")
    before = servers.cpu([process])
    answered, elapsed = asyncio.run(ask(port, bank.requests, seconds, CONNECTIONS, seed))
    spent = servers.cpu([process]).since(before)
    return Measured(answered, elapsed, spent.python / answered * 1e6, spent.postgres / answered * 1e6)


Rounds = list[dict[Layer, Measured]]


def run_rounds(postgres: EmbeddedPostgres, bank: Bank, rounds: int, seconds: float) -> Rounds:
    """Every layer once a round, each round beginning with the next one."""
    layers = list(Layer)
    measured: Rounds = []
    with ExitStack() as stack:
        servers = {layer: stack.enter_context(serving(layer, bank)) for layer in layers}
        for port, _process in servers.values():
            answered = 0
            while answered < PREPARED_AFTER * CONNECTIONS:
                answered += asyncio.run(ask(port, bank.requests, 1.0, CONNECTIONS, 0))[0]
        for turn in range(rounds):
            first = turn % len(layers)
            this_round = {}
            for layer in (*layers[first:], *layers[:first]):
                this_round[layer] = measure(postgres, bank, *servers[layer], seconds, turn)
                print(f"round {turn + 1}  {line(layer, [this_round[layer]])}", file=sys.stderr, flush=True)
            measured.append(this_round)
    return measured


def line(layer: Layer, results: Sequence[Measured]) -> str:
    """Medians of a layer."""
    python, postgres = (median(getattr(each, f"{part}_us") for each in results) for part in ("python", "postgres"))
    return (
        f"{layer:6} {median(each.rate for each in results):>8,.0f} requests/s   µs a request:"
        f" {python + postgres:8,.0f} (Python {python:,.0f}, PostgreSQL {postgres:,.0f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.http", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="branchline-bench-") as folder:
        Path(folder).chmod(0o755)
        os.environ.pop("BRANCHLINE_AUDIT_KEYS", None)
        postgres = start_postgres(Path(folder) / "postgres")
        try:
            bank = asyncio.run(open_bank(postgres, Path(folder) / "keys"))
            rounds = run_rounds(postgres, bank, given.rounds, given.seconds)
            verified = asyncio.run(verify_service(bank.jobs_url, "customer", bank.keys))
        finally:
            postgres.stop()
    audited = sum(each[Layer.AUDIT].requests for each in rounds)
    if verified.faults or verified.rows < audited:
        raise Failed(f"{audited} answers were audited, and {verified.rows} rows verify")
    print(f"{verified.rows:,} audit rows verify, of {audited:,} answers and what warmed them up")
    for layer in Layer:
        print(line(layer, [each[layer] for each in rounds]))
    told = {str(layer): round(median(each[layer].rate for each in rounds)) for layer in Layer}
    # The median of the rounds' ratios: what disturbs a round disturbs both.
    kept = median(each[Layer.AUDIT].rate / each[Layer.BARE].rate for each in rounds)
    print(json.dumps({**told, "kept": round(kept, 3)}))


if __name__ == "__main__":
    main()
