"""Offsets, looked at all the time: what was committed once must never be seen to be less, whatever is killed."""

import threading

import psycopg

from services.catalog import SERVICES
from tests.torture.line import Line

LOOK_SECONDS = 0.25

At = tuple[str, str, int]
"""(service, topic, partition)"""


class OffsetWatch(threading.Thread):
    """Looks at every database that answers until `stop`; `went_back` names what went back."""

    def __init__(self, line: Line) -> None:
        super().__init__(name="offset-watch", daemon=True)
        self._line = line
        self._stopping = threading.Event()
        self._seen: dict[At, int] = {}
        self.samples = 0
        self.went_back: list[str] = []

    def run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            for service in SERVICES:
                try:
                    rows = self._line.rows(service, "select topic, partition, next_offset from consumer_offset")
                except psycopg.OperationalError:
                    continue  # PostgreSQL is down: looked at again when it is back
                self._compare(service, rows)

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)

    def _compare(self, service: str, rows: list[tuple[str, int, int]]) -> None:
        found = {(service, topic, partition): offset for topic, partition, offset in rows}
        for at, offset in found.items():
            self.samples += 1
            if offset < self._seen.get(at, 0):
                self.went_back.append(f"{at} went from {self._seen[at]} to {offset}")
        for at in self._seen.keys() - found.keys():
            if at[0] == service:
                self.went_back.append(f"{at} is gone")
        self._seen |= found


def moves_astray(line: Line) -> list[str]:
    """Offsets that were moved to where they were, or back, or from where nobody had left them."""
    astray = []
    for service in SERVICES:
        left_at: dict[tuple[str, int], int] = {}
        query = "select topic, partition, before, after, application from torture_move order by id"
        for topic, partition, before, after, application in line.rows(service, query):
            expected = left_at.get((topic, partition), before)
            if after <= before or before != expected:
                moved = f"{service}: {application} moved {topic}/{partition} from {before} to {after}"
                astray.append(moved if before == expected else f"{moved}, and it was at {expected}")
            left_at[topic, partition] = after
    return astray
