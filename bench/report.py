"""What was measured: `bench/results.json`, and the tables of `bench/README.md` that are made of it.

`python -m bench.report` makes the tables again.
"""

import os
import platform
import re
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from bench.latency import Latencies, Latency

FOLDER = Path(__file__).resolve().parent
RESULTS, README, BACKLOG = FOLDER / "results.json", FOLDER / "README.md", FOLDER / "backlog.json"
_BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
MUST = {"vs_copy_only": 0.8, "vs_faststream_batch": 5.0, "vs_faststream_single": 100.0}


class Summary(msgspec.Struct, frozen=True):
    """Medians of a contender's rounds; `events` of one of them, `peak_mib` the greatest of all."""

    events: int
    events_per_second: float
    python_us: float
    postgres_us: float
    broker_us: float
    peak_mib: float


class Results(msgspec.Struct, frozen=True):
    measured_on: date
    machine: str
    events: int
    rounds: int
    contenders: dict[str, Summary]
    ratios: dict[str, float]
    latency: Latencies


class Backlog(msgspec.Struct, frozen=True):
    """Resident memory of the consumer, in MiB."""

    events: int
    events_per_second: int
    samples: int
    first_mib: int
    median_mib: int
    last_mib: int
    max_mib: int


def machine() -> str:
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{os.cpu_count()} cores of {model}, {memory} GiB, Python {platform.python_version()}; load at the end {load}"
    )


def last_line(results: Results) -> dict[str, Any]:
    """What `make bench-events` prints as JSON."""
    return {
        **{name: round(value, 4 if value < 0.1 else 2) for name, value in results.ratios.items()},
        "events_per_second": {name: round(of.events_per_second) for name, of in results.contenders.items()},
        "cpu_us": {
            name: {
                "python": round(of.python_us, 1),
                "postgres": round(of.postgres_us, 1),
                "broker": round(of.broker_us, 1),
            }
            for name, of in results.contenders.items()
        },
        "peak_mib": {
            **{name: round(of.peak_mib) for name, of in results.contenders.items()},
            **{f"service_{name}": each // 2**20 for name, each in results.latency.peak_bytes.items()},
        },
        "line_events_per_second": round(results.latency.line_rate),
        "latency_ms": [
            {
                "load": level.share,
                "p50": round(level.p50_ms, 1),
                "p99": round(level.p99_ms, 1),
                "broker_p50": round(level.broker_p50_ms, 1),
                "broker_p99": round(level.broker_p99_ms, 1),
                "unseen": level.unseen,
            }
            for level in results.latency.levels
        ],
    }


def told(level: Latency) -> str:
    return (
        f"alert at {level.share:.0%} ({level.load:,.0f} events/s): p50 {level.p50_ms:,.0f} ms,"
        f" p99 {level.p99_ms:,.0f} ms, {level.unseen} of {level.probes} unseen;"
        f" broker alone {level.broker_p50_ms:.1f} / {level.broker_p99_ms:.1f} ms"
    )


def table(results: Results) -> str:
    """The results as the README has them."""
    limit = results.contenders["copy_only"].events_per_second
    lines = [
        f"Measured on {results.measured_on} by `make bench-events EVENTS={results.events} ROUNDS={results.rounds}`:",
        f"{results.machine} (the machine has others to serve where that is more than 2).",
        "",
        "| contender | events/s | of copy_only | Python µs | PostgreSQL µs | broker µs | peak MiB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, of in results.contenders.items():
        lines.append(
            f"| `{name}` | {of.events_per_second:,.0f} | {of.events_per_second / limit:.3f} | {of.python_us:,.1f}"
            f" | {of.postgres_us:,.1f} | {of.broker_us:,.1f} | {of.peak_mib:,.0f} |"
        )
    lines += ["", "| ratio, median of the rounds' | measured | must be |", "|---|--:|--:|"]
    for name, value in results.ratios.items():
        must = f"≥ {MUST[name]:g}" if name in MUST else "reported"
        lines.append(f"| `{name}` | {value:.2f} | {must} |")
    latency = results.latency
    lines += [
        "",
        f"The line digests {latency.line_rate:,.0f} transactions/s from a backlog. An alert at a share of that:",
        "",
        "| load | events/s | p50 ms | p99 ms | unseen | broker alone p50 ms | p99 ms |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {level.share:.0%} | {level.load:,.0f} | {level.p50_ms:,.0f} | {level.p99_ms:,.0f}"
        f" | {level.unseen} of {level.probes} | {level.broker_p50_ms:.1f} | {level.broker_p99_ms:.1f} |"
        for level in latency.levels
    ]
    peaks = ", ".join(f"{name} {each // 2**20} MiB" for name, each in latency.peak_bytes.items())
    return "\n".join([*lines, "", f"Greatest resident memory of each service meanwhile: {peaks}.", ""])


def backlog_table(backlog: Backlog) -> str:
    return (
        f"`make bench-backlog EVENTS={backlog.events}`: {backlog.events:,} events at {backlog.events_per_second:,}"
        f" events/s; resident memory over {backlog.samples} samples, one a second: first {backlog.first_mib} MiB,"
        f" median {backlog.median_mib}, last {backlog.last_mib}, greatest {backlog.max_mib}.\n"
    )


def with_blocks(readme: str) -> str:
    """The README with what was published last in its blocks."""
    measured = {}
    if RESULTS.exists():
        measured["results"] = table(msgspec.json.decode(RESULTS.read_bytes(), type=Results))
    if BACKLOG.exists():
        measured["backlog"] = backlog_table(msgspec.json.decode(BACKLOG.read_bytes(), type=Backlog))
    return _BLOCK.sub(lambda found: f"{found[1]}{measured.get(found[2], found[3])}{found[4]}", readme)


def publish_results(results: Results) -> None:
    _write(RESULTS, results)


def publish_backlog(backlog: Backlog) -> None:
    _write(BACKLOG, backlog)


def _write(file: Path, measured: Results | Backlog) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=2) + b"\n")
    README.write_text(with_blocks(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    README.write_text(with_blocks(README.read_text(encoding="utf-8")), encoding="utf-8")
