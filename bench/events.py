"""`make bench-events`: Branchline's event core beside FastStream and a bare COPY, interleaved on the same servers."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from statistics import median

from bench.contender import Contender, Setup
from bench.contenders import CONTENDERS
from bench.input import Posted, generate, produce
from bench.run import Measured, measure
from bench.servers import Servers, started_servers
from shared.ids import new_id

EVENTS, ROUNDS, CUSTOMERS, SEED = 400_000, 5, 20_000, 4
AGAINST = ("copy_only", "faststream_batch", "faststream_single")
Rounds = list[dict[str, Measured]]


def run_rounds(
    servers: Servers, contenders: Sequence[Contender], *, events: int, rounds: int, customers: int, seed: int
) -> Rounds:
    """Every contender once a round, each round beginning with the next one. Raises NotExactlyOnce and Failed."""
    inputs: dict[int, tuple[Setup, list[list[Posted]]]] = {}
    for partitions in {contender.partitions for contender in contenders}:
        topic = f"bench.{new_id().hex}.{partitions}"
        sent = generate(seed, events, customers, partitions)
        placed = asyncio.run(produce(servers.bootstrap, topic, partitions, sent))
        setup = Setup(servers.bootstrap, topic, partitions, "", "", events, events, customers, seed)
        inputs[partitions] = setup, placed
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
    python, postgres, broker = (
        median(getattr(each, f"{part}_us") for each in results) for part in ("python", "postgres", "broker")
    )
    return (
        f"{name:28} {median(each.rate for each in results):>10,.0f} events/s   µs an event:"
        f" {python + postgres:8,.1f} (Python {python:,.1f}, PostgreSQL {postgres:,.1f}), broker {broker:,.1f};"
        f" {max(each.peak_bytes for each in results) / 2**20:,.0f} MiB"
    )


def ratio(rounds: Rounds, of: str, to: str) -> float:
    """The median of the rounds' ratios: what disturbs a round disturbs both."""
    return median(each[of].rate / each[to].rate for each in rounds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.events", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with started_servers() as servers:
        rounds = run_rounds(
            servers, CONTENDERS, events=given.events, rounds=given.rounds, customers=CUSTOMERS, seed=SEED
        )
    for name in rounds[0]:
        print(line(name, [each[name] for each in rounds]))
    print(json.dumps({f"vs_{name}": round(ratio(rounds, "branchline", name), 3) for name in AGAINST}))


if __name__ == "__main__":
    main()
