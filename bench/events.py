"""`make bench-events`: Branchline's event core beside FastStream and a bare COPY, interleaved on the same servers."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median
from time import monotonic

from bench.contender import Contender, Setup
from bench.contenders import BY_NAME, CONTENDERS
from bench.input import Posted, generate, place, produce
from bench.latency import measure_latency
from bench.line import started_line
from bench.report import Results, Summary, last_line, machine, publish_results, told
from bench.run import Measured, measure
from bench.servers import Servers, started_servers
from shared.ids import new_id

EVENTS, ROUNDS, CUSTOMERS, SEED = 800_000, 5, 20_000, 4
LINE_CUSTOMERS, LINE_SHARE, PROBES, PROBE_SECONDS = 5_000, 0.05, 300, 15.0
RATIOS = {
    "vs_copy_only": ("branchline", "copy_only"),
    "vs_copy_only_text": ("branchline", "copy_only_text"),
    "two_processes_vs_copy_only": ("branchline_2_processes", "copy_only"),
    "vs_faststream_batch": ("branchline", "faststream_batch"),
    "vs_faststream_single": ("branchline", "faststream_single"),
    "two_processes_vs_one": ("branchline_2_processes", "branchline"),
    "partitions_16_vs_4": ("branchline_16_partitions", "branchline"),
}
Rounds = list[dict[str, Measured]]


def run_rounds(
    servers: Servers, contenders: Sequence[Contender], *, events: int, rounds: int, customers: int, seed: int
) -> Rounds:
    """Every contender once a round, each round beginning with the next one. Raises NotExactlyOnce and Failed."""
    inputs: dict[int, tuple[Setup, list[list[Posted]]]] = {}
    for partitions in {contender.partitions for contender in contenders}:
        topic = f"bench.{new_id().hex}.{partitions}"
        sent = list(generate(seed, events, customers, partitions))
        asyncio.run(produce(servers.bootstrap, topic, partitions, sent))
        setup = Setup(servers.bootstrap, topic, partitions, "", "", events, events, customers, seed)
        inputs[partitions] = setup, place(sent, partitions)
    measured: Rounds = []
    for turn in range(rounds):
        first = turn % len(contenders)
        this_round = {}
        for contender in (*contenders[first:], *contenders[:first]):
            result = this_round[contender.name] = measure(contender, servers, *inputs[contender.partitions])
            print(f"round {turn + 1}  {line(contender.name, [result])}", file=sys.stderr, flush=True)
        measured.append({contender.name: this_round[contender.name] for contender in contenders})
    return measured


def line(name: str, results: Sequence[Measured]) -> str:
    """Medians of a contender."""
    of = summarize(results)
    return (
        f"{name:28} {of.events_per_second:>10,.0f} events/s   µs an event: {of.python_us + of.postgres_us:8,.1f}"
        f" (Python {of.python_us:,.1f}, PostgreSQL {of.postgres_us:,.1f}), broker {of.broker_us:,.1f};"
        f" {of.peak_mib:,.0f} MiB"
    )


def summarize(results: Sequence[Measured]) -> Summary:
    return Summary(
        events=results[0].events,
        events_per_second=median(each.rate for each in results),
        python_us=median(each.python_us for each in results),
        postgres_us=median(each.postgres_us for each in results),
        broker_us=median(each.broker_us for each in results),
        peak_mib=max(each.peak_bytes for each in results) / 2**20,
    )


def ratios(rounds: Rounds) -> dict[str, float]:
    """The medians of the rounds' ratios: what disturbs a round disturbs both."""
    return {
        name: median(each[of].rate / each[to].rate for each in rounds)
        for name, (of, to) in RATIOS.items()
        if of in rounds[0] and to in rounds[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.events", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", nargs="+", metavar="CONTENDER", choices=BY_NAME, help="these, and nothing else")
    parser.add_argument("--publish", action="store_true", help="keep the results in bench/results.json and README.md")
    given = parser.parse_args()
    if given.only and given.publish:
        parser.error("what is published is measured as a whole")
    began = monotonic()
    contenders = [BY_NAME[name] for name in given.only] if given.only else CONTENDERS
    with started_servers() as servers:
        rounds = run_rounds(
            servers, contenders, events=given.events, rounds=given.rounds, customers=CUSTOMERS, seed=SEED
        )
        if given.only:
            for name in rounds[0]:
                print(line(name, [each[name] for each in rounds]))
            print(json.dumps({name: round(value, 2) for name, value in ratios(rounds).items()}))
            return
        with started_line(servers) as services:
            latency = measure_latency(
                services,
                customers=LINE_CUSTOMERS,
                backlog=max(1, int(given.events * LINE_SHARE)),
                probes=PROBES,
                seconds=PROBE_SECONDS,
            )
    results = Results(
        measured_on=datetime.now(UTC).date(),
        machine=machine(),
        events=given.events,
        rounds=given.rounds,
        contenders={name: summarize([each[name] for each in rounds]) for name in rounds[0]},
        ratios=ratios(rounds),
        latency=latency,
    )
    for name in rounds[0]:
        print(line(name, [each[name] for each in rounds]))
    for level in latency.levels:
        print(told(level))
    if given.publish:
        publish_results(results)
    print(f"took {monotonic() - began:,.0f} s")
    print(json.dumps(last_line(results)))


if __name__ == "__main__":
    main()
