"""`make demo-test`: the demo is killed with -9 while it opens its bank, again and again, and nothing is different.

Two demos of one seed and day: one undisturbed, one killed KILLS times at random moments. Then every figure of the
sample is compared by the bank's own ids: what a service made up itself (customer ids, for one) differs between two
demos. The last line is one JSON object.
"""

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from services.demo.home import Home, SampleBankState
from services.serving import listen
from shared.embedded_postgres import start_postgres

KILLS = 10
READY = "New events keep coming"
START_SECONDS, SECOND_START_SECONDS, STOP_SECONDS = 600, 10, 5

# What the sample brought, in the bank's own ids; the open day's events, which came after it, are left out.
# So are fingerprints: each bank has a key of its own for them.
FIGURES: dict[str, dict[str, str]] = {
    "customer": {
        "customers": "select party_id, customer_number, branch_id, manager_id, left_on, revision from customer",
        "accounts": "select a.core_account_id, c.party_id, a.kind, a.opened_on, a.closed_on, a.revision"
        " from account a join customer c using (customer_id)",
        "ledger": "select a.core_account_id, p.core_transaction_id, p.booked_on, p.sequence, p.amount_minor, p.kind,"
        " p.balance_after_minor, p.is_external, p.reverses_transaction_id"
        " from posting p join account a using (account_id) where p.booked_on <= :until",
        "facts": "select kind, core_id, revision from reported_fact where core_id !~ '-N[0-9]+$'",
        "days": "select business_date from business_day where business_date <= :until",
        "kept": "select source, event_id from kept_event",
        "dead letters": "select topic, type from dead_letter",
    },
    "scoring": {
        "daily aggregates": "select s.customer_number, d.booked_on, sum(d.credit_minor), sum(d.credit_count),"
        " sum(d.debit_minor), sum(d.debit_count), sum(d.card_count), sum(d.initiated_count)"
        " from daily_aggregate d join customer_scope s using (customer_id) where d.booked_on <= :until group by 1, 2",
        "scores": "select s.customer_number, c.scored_on, c.points from score_change c"
        " join customer_scope s using (customer_id) where c.scored_on <= :until",
        "alerts": "select s.customer_number, a.raised_on, a.points, a.is_historic from churn_alert a"
        " join customer_scope s using (customer_id) where a.raised_on <= :until",
        "dead letters": "select topic, type from dead_letter",
    },
    "interaction": {
        "contacts": "select s.customer_number, c.occurred_at, c.channel from contact c"
        " join customer_scope s using (customer_id) where c.occurred_at < cast(:until as date) + 1",
        "dead letters": "select topic, type from dead_letter",
    },
    "notification": {
        "inbox": "select s.customer_number, i.staff_id, a.raised_on from inbox_item i join alert a using (alert_id)"
        " join customer_scope s on s.customer_id = a.customer_id where a.raised_on <= :until",
        "deliveries": "select s.customer_number, d.staff_id, d.channel, d.state, a.raised_on from delivery d"
        " join alert a using (alert_id) join customer_scope s on s.customer_id = a.customer_id"
        " where a.raised_on <= :until",
        "dead letters": "select topic, type from dead_letter",
    },
}


@dataclass
class Demo:
    """A demo in a folder of its own, on a port of its own."""

    folder: Path
    port: int
    lines: list[str] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None
    reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        environment = {**os.environ, "BRANCHLINE_HOME": str(self.folder), "BRANCHLINE_PORT": str(self.port)}
        self.lines = []
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli", "demo"),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    async def ready(self, seconds: float) -> float:
        """Seconds until it says that it is up."""
        began = time.monotonic()
        while not any(READY in line for line in self.lines):
            ended = self.process is not None and self.process.returncode is not None
            if ended or time.monotonic() - began > seconds:
                raise SystemExit("the demo did not come up:\n" + "\n".join(self.lines[-30:]))
            await asyncio.sleep(0.1)
        return time.monotonic() - began

    async def end(self, with_signal: signal.Signals) -> float:
        """Seconds until the process is gone."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(with_signal)
        await self.process.wait()
        if self.reading is not None:
            await self.reading
        return time.monotonic() - began

    def state(self) -> SampleBankState | None:
        return Home(self.folder).read_state()


@contextmanager
def demo_in(folder: Path) -> Iterator[Demo]:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    listening.close()
    demo = Demo(folder, port)
    try:
        yield demo
    finally:
        if demo.process is not None and demo.process.returncode is None:
            demo.process.kill()
        start_postgres(Home(folder).postgres).stop()


async def figures(folder: Path) -> dict[str, list[Any]]:
    """Every figure of a demo that is stopped, sorted."""
    state = Home(folder).read_state()
    assert state is not None
    postgres = await asyncio.to_thread(start_postgres, Home(folder).postgres)
    found: dict[str, list[Any]] = {}
    for service, queries in FIGURES.items():
        engine = create_async_engine(postgres.url(service, service).replace("postgresql:", "postgresql+psycopg:"))
        async with engine.connect() as connection:
            for name, query in queries.items():
                rows = await connection.execute(text(query), {"until": state.until} if ":until" in query else {})
                found[f"{service}: {name}"] = sorted(map(tuple, rows), key=repr)
        await engine.dispose()
    await asyncio.to_thread(postgres.stop)
    return found


async def undisturbed(folder: Path) -> tuple[dict[str, list[Any]], dict[str, float]]:
    with demo_in(folder) as demo:
        await demo.start()
        first = await demo.ready(START_SECONDS)
        stopped = await demo.end(signal.SIGINT)
        await demo.start()
        second = await demo.ready(START_SECONDS)
        async with httpx.AsyncClient() as http:
            ready = await http.get(f"http://127.0.0.1:{demo.port}/readyz")
        assert ready.status_code == 200, ready.text
        await demo.end(signal.SIGINT)
    return await figures(folder), {"first_start_s": first, "second_start_s": second, "stop_s": stopped}


async def killed(folder: Path, seed: int, like: SampleBankState, opening_seconds: float) -> dict[str, list[Any]]:
    """Killed at moments that are spread over the time that an opening takes."""
    dice = random.Random(seed)
    home = Home(folder)
    home.write_state(msgspec.structs.replace(like, confirmed_lines=0, is_open=False, closed_through=like.until))
    with demo_in(folder) as demo:
        for kill in range(1, KILLS + 1):
            await demo.start()
            await asyncio.sleep(dice.uniform(1, 2 * opening_seconds / KILLS))
            await demo.end(signal.SIGKILL)
            state = demo.state()
            print(f"killed {kill} of {KILLS}: {state.confirmed_lines if state else 0:,} lines confirmed", flush=True)
        await demo.start()
        await demo.ready(START_SECONDS)
        await demo.end(signal.SIGINT)
    return await figures(folder)


async def main() -> int:
    seed = int(os.environ.get("BRANCHLINE_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"seed {seed}: BRANCHLINE_SEED={seed} repeats it", flush=True)
    with tempfile.TemporaryDirectory(prefix="branchline-demo-") as temporary:
        calm, stormy = Path(temporary) / "calm", Path(temporary) / "stormy"
        expected, seconds = await undisturbed(calm)
        like = Home(calm).read_state()
        assert like is not None
        print(json.dumps({name: round(value, 1) for name, value in seconds.items()}), flush=True)
        found = await killed(stormy, seed, like, seconds["first_start_s"])
    lost = doubled = 0
    for name, rows in expected.items():
        if found[name] != rows:
            missing, extra = set(rows) - set(found[name]), set(found[name]) - set(rows)
            lost += len(missing)
            doubled += max(len(found[name]) - len(rows) + len(missing), len(extra))
            print(
                f"{name}: {len(rows):,} undisturbed, {len(found[name]):,} killed; {list(missing)[:3]} {list(extra)[:3]}"
            )
    slow = seconds["second_start_s"] > SECOND_START_SECONDS or seconds["stop_s"] > STOP_SECONDS
    result = {
        "seed": seed,
        "kills": KILLS,
        "figures": sum(map(len, expected.values())),
        "lost": lost,
        "doubled": doubled,
    }
    print(json.dumps({**result, **{name: round(value, 1) for name, value in seconds.items()}}))
    return 1 if lost or doubled or slow else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
