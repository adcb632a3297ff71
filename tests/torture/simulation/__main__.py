"""`python -m tests.torture.simulation --seed S --seconds N`: interleavings from seed S on; the last line is JSON.

`--interleavings 1 --trace` with a seed that was violated shows what happened, step by step.
"""

import argparse
import hashlib
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, count, islice

from tests.torture.simulation.world import Outcome, in_simulation, simulate

CHUNK = 20
"""Seeds that a worker gets at once."""


def run_chunk(seeds: Sequence[int], traced: bool) -> list[Outcome]:
    with in_simulation():
        return [simulate(seed, traced=traced) for seed in seeds]


def run(first: int, *, seconds: float, most: int | None, workers: int, traced: bool) -> Iterator[Outcome]:
    """Outcomes in the order of their seeds, until the time is over or there were so many."""
    deadline = time.monotonic() + seconds
    seeds = count(first) if most is None else iter(range(first, first + most))
    with ProcessPoolExecutor(workers) as pool:
        while time.monotonic() < deadline:
            chunks = [chunk for _ in range(workers) if (chunk := list(islice(seeds, CHUNK)))]
            if not chunks:
                return
            yield from chain.from_iterable(pool.map(run_chunk, chunks, [traced] * len(chunks)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first; each interleaving has the next one")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--interleavings", type=int, help="at most so many")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", action="store_true", help="show what happened")
    given = parser.parse_args()
    began = time.monotonic()
    digest, kinds = hashlib.blake2b(digest_size=16), Counter[str]()
    interleavings = events = kills = violated = 0
    for outcome in run(
        given.seed,
        seconds=given.seconds,
        most=given.interleavings,
        workers=given.workers,
        traced=given.trace,
    ):
        interleavings += 1
        events += outcome.events
        kills += outcome.kills
        digest.update(outcome.digest.encode())
        for line in outcome.trace:
            print(line)
        if outcome.violations:
            violated += 1
            kinds.update({violation.kind for violation in outcome.violations})
            for violation in outcome.violations:
                print(f"seed {outcome.seed}: {violation.kind}: {violation.detail}")
    per_minute = round(interleavings / (time.monotonic() - began) * 60)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    per_cpu_minute = round(interleavings / (used.ru_utime + used.ru_stime) * 60)
    print(f"{per_minute} interleavings per minute, {per_cpu_minute} per minute of CPU; {events} events, {kills} kills")
    summary = {
        "seed": given.seed,
        "interleavings": interleavings,
        "per_minute": per_minute,
        "per_cpu_minute": per_cpu_minute,
        "events": events,
        "kills": kills,
        "violations": dict(kinds),
        "violated": violated,
        "digest": digest.hexdigest(),
    }
    print(json.dumps(summary))
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main())
