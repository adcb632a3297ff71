"""How much may be parked: beyond it the fault is a bad deploy, not bad data."""

from collections import deque
from collections.abc import Sequence


class Stopped(Exception):
    """So much would be parked that the subscription stops rather than park it all."""


class ParkingLimit:
    """100 in a row, or 5 % of the last 10,000. Not `enforced`, everything may be parked: it was the data after all."""

    SHARE = 0.05
    WINDOW = 10_000

    def __init__(self, *, in_a_row: int = 100, enforced: bool = True) -> None:
        self._enforced = enforced
        self._most_in_a_row = in_a_row
        self._in_a_row = 0
        self._recent: deque[tuple[int, int]] = deque()
        self._delivered = 0
        self._parked = 0

    def check(self, parked: Sequence[int], size: int) -> None:
        """Raises Stopped when a batch of `size`, of which those at `parked` would be parked, is too much."""
        if not parked or not self._enforced:
            return
        longest, _ = self._runs(parked, size)
        delivered, count = self._delivered + size, self._parked + len(parked)
        if longest >= self._most_in_a_row or (delivered >= self.WINDOW and count > self.SHARE * delivered):
            raise Stopped(f"{longest} events in a row, or {count} of {delivered}, would be parked")

    def count(self, parked: Sequence[int], size: int) -> None:
        """Remembers a batch that is committed."""
        _, self._in_a_row = self._runs(parked, size)
        self._recent.append((size, len(parked)))
        self._delivered += size
        self._parked += len(parked)
        while self._delivered - self._recent[0][0] >= self.WINDOW:
            gone, gone_parked = self._recent.popleft()
            self._delivered -= gone
            self._parked -= gone_parked

    def _runs(self, parked: Sequence[int], size: int) -> tuple[int, int]:
        """The longest run, beginning with what came before, and the one that is still open at the end."""
        longest, run, following = 0, self._in_a_row, 0
        for index in parked:
            run = run + 1 if index == following else 1
            longest, following = max(longest, run), index + 1
        return longest, run if following == size and parked else 0
