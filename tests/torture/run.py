"""One run: a bank's events through the whole line while it is tormented, then the comparison with the oracle."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from tests.torture.bank import Bank, make_bank
from tests.torture.compare import Comparison
from tests.torture.faults import Fault, Tormentor, make_plan, plan_hash
from tests.torture.line import LOGS, PARTITIONS, REPLICAS, Line
from tests.torture.quiet import NotQuiet, wait_until_quiet
from tests.torture.topics import Feed, Poison, poisons, read_topics
from tests.torture.verdict import Verdict
from tests.torture.watch import OffsetWatch, moves_astray
from tests.torture.workers import ROOT, Ended

SHARE_OF_TIME_TO_FEED = 0.9
QUIET_WITHIN_SECONDS = 240.0
FATAL = frozenset({"subscription_stopped", "background_task_failed"})
"""Lines of a service's log after which it does not go on by itself."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Torture:
    """What a run consists of; all of it follows from the seed, the time and the number of customers."""

    seed: int
    seconds: float
    bank: Bank
    poison: list[Poison]
    plan: list[Fault]
    replicas: dict[str, int]

    @classmethod
    def of(cls, seed: int, seconds: float, customers: int, replicas: dict[str, int] | None = None) -> "Torture":
        replicas = REPLICAS if replicas is None else replicas
        workers = [f"{service}.{replica}" for service, count in replicas.items() for replica in range(count)]
        bank = make_bank(seed, customers)
        return cls(seed, seconds, bank, poisons(random.Random(seed)), make_plan(seed, seconds, workers), replicas)


def run(torture: Torture, say: Say, *, without: str | None = None) -> tuple[Verdict, dict[str, Any]]:
    """Raises NoKafka where there is no broker to be had. What else goes wrong is in the verdict."""
    line = Line(without=without, replicas=torture.replicas)
    verdict = Verdict()
    began = time.monotonic()
    say(f"seed {torture.seed}, plan {plan_hash(torture.plan)}:")
    for fault in torture.plan:
        say(f"   {fault}")
    with line.up():
        say(f"the line is up after {time.monotonic() - began:.0f} s")
        watch = OffsetWatch(line)
        watch.start()
        feed = Feed(
            line.kafka,
            torture.bank,
            torture.poison,
            seconds=torture.seconds * SHARE_OF_TIME_TO_FEED,
            seed=torture.seed,
            is_first_day_closed=lambda: is_first_day_closed(line, torture.bank.first_closed),
        )

        def check() -> None:
            feed.check()
            line.check()

        tormentor = Tormentor(line, verdict, check)
        log = []
        feed.start()
        try:
            tormentor.follow(torture.plan, say)
            feed.hurry.set()
            feed.join()
            feed.check()
            quiet_began = time.monotonic()
            wait_until_quiet(line, QUIET_WITHIN_SECONDS)
            say(f"quiet after {time.monotonic() - quiet_began:.0f} s; comparing")
        except (Ended, NotQuiet) as fault:
            verdict.violate(str(fault))
            tormentor.end_all()
            feed.hurry.set()
            feed.join(60)
        watch.stop()
        log = read_topics(line.kafka)
        Comparison(line, torture.bank, torture.poison, log, verdict).compare()
        for astray in [*watch.went_back, *moves_astray(line)]:
            verdict.violate(f"offset: {astray}")
        logged = read_logs(line, verdict)
        if not verdict.is_clean:
            line.keep_logs()
            say(f"the logs are in {LOGS.relative_to(ROOT)}")
    ids = [record.headers["ce_id"] for record in log if "ce_id" in record.headers]
    return verdict, {
        "seed": torture.seed,
        "plan": plan_hash(torture.plan),
        "kills": tormentor.kills,
        "pauses": tormentor.done["pause"],
        "faults": sum(tormentor.done.values()),
        "events": len(torture.bank.arrivals),
        "customers": len(torture.bank.fates),
        "duplicates": torture.bank.duplicates,
        "late": torture.bank.late,
        "poison": len(torture.poison),
        "records": len(log),
        "records_repeated": len(ids) - len(set(ids)),
        "offsets_sampled": watch.samples,
        "compared": verdict.compared,
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "violations": len(verdict.violations),
        "errors_logged": dict(sorted(logged.items())),
        "seconds": round(time.monotonic() - began),
    }


def is_first_day_closed(line: Line, day: date) -> bool:
    query = "select count(*) from business_day where first_closed_on = %s"
    try:
        return line.rows("scoring", query, day) == [(PARTITIONS,)]
    except psycopg.OperationalError:
        return False  # PostgreSQL is down


def read_logs(line: Line, verdict: Verdict) -> Counter[str]:
    """How often each error was logged; the fatal ones are violations."""
    logged: Counter[str] = Counter()
    for worker in line.workers.values():
        for text in worker.log.read_text(errors="replace").splitlines():
            try:
                record = json.loads(text)
            except ValueError:
                continue
            if isinstance(record, dict) and record.get("level") in {"error", "critical"}:
                event = str(record.get("event"))
                what = f"{event} {record.get('fault', '')}" if event.isidentifier() else "of a client"
                logged[f"{worker.service} {what}".strip()] += 1
                if record.get("event") in FATAL:
                    verdict.violate(f"log of {worker.name}: {record.get('event')} {record.get('fault')}")
    return logged
