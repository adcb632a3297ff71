"""`make bench-backlog`: the consumer's memory while it works off a long backlog, sampled every second."""

import argparse
import asyncio
import sys
from statistics import median
from time import monotonic, sleep

import msgspec
import psycopg

from bench.check import check_totals
from bench.contender import Setup
from bench.contenders import BY_NAME
from bench.events import CUSTOMERS, SEED
from bench.input import fold, generate, produce
from bench.report import Backlog, publish_backlog
from bench.run import Worker, messaging_schema, standing
from bench.servers import Servers, resident_bytes, started_servers

EVENTS = 5_000_000
NAME, PARTITIONS, TOPIC = "branchline", 4, "bench.backlog"
SAMPLE_SECONDS = 1.0
LOOK_SECONDS = 0.05
MIB = 2**20


def work_off(servers: Servers, *, events: int, customers: int, seed: int) -> tuple[float, list[int]]:
    """Seconds that it took, and the consumer's resident bytes at every sample from its first commit on.

    Raises NotExactlyOnce and Failed.
    """
    asyncio.run(produce(servers.bootstrap, TOPIC, PARTITIONS, generate(seed, events, customers, PARTITIONS)))
    database = servers.create_database("backlog", "bench", messaging_schema() + (BY_NAME[NAME].schema or ""))
    setup = Setup(servers.bootstrap, TOPIC, PARTITIONS, "backlog", database, events, events, customers, seed)
    samples: list[int] = []
    with psycopg.connect(database, autocommit=True) as connection, Worker(NAME, setup) as worker:
        worker.wait_for("ready")
        worker.tell("go")
        began = due = monotonic()
        while (done := standing(connection, TOPIC)[1]) < events:
            worker.raise_if_ended()
            if done and monotonic() >= due:
                samples.append(resident_bytes(worker.process_id))
                print(f"{done:>12,} events  {samples[-1] / MIB:6.0f} MiB", file=sys.stderr, flush=True)
                due = monotonic() + SAMPLE_SECONDS
            sleep(LOOK_SECONDS)
        seconds = monotonic() - began
        samples.append(resident_bytes(worker.process_id))
        worker.let_go()
        worker.finish()
    check_totals(database, fold((sent.posted for sent in generate(seed, events, customers, PARTITIONS)), customers))
    return seconds, samples


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.backlog", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--publish", action="store_true", help="keep the result in bench/backlog.json and README.md")
    given = parser.parse_args()
    with started_servers() as servers:
        seconds, samples = work_off(servers, events=given.events, customers=CUSTOMERS, seed=SEED)
    backlog = Backlog(
        events=given.events,
        events_per_second=round(given.events / seconds),
        samples=len(samples),
        first_mib=samples[0] // MIB,
        median_mib=round(median(samples)) // MIB,
        last_mib=samples[-1] // MIB,
        max_mib=max(samples) // MIB,
    )
    if given.publish:
        publish_backlog(backlog)
    print(
        f"resident memory of the consumer over {backlog.events:,} events: first {backlog.first_mib} MiB,"
        f" median {backlog.median_mib}, last {backlog.last_mib}, greatest {backlog.max_mib}"
    )
    print(msgspec.json.encode(backlog).decode())


if __name__ == "__main__":
    main()
