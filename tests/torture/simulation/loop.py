"""Virtual time: an event loop without I/O, on which time passes only when all wait for it."""

import asyncio
from typing import Any


class NothingLeft(Exception):
    """Everybody waits, and for nothing that will ever happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is ready in asyncio's own order; who is ready when is up to the latencies that the simulation draws."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = self
        self._now = 0.0
        self.set_exception_handler(lambda _loop, _context: None)  # who was killed leaves its tasks as they are

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """What the base class waits with."""
        if timeout is None:
            raise NothingLeft
        self._now += timeout
        return []

    def _process_events(self, _events: list[Any]) -> None: ...

    def _write_to_self(self) -> None: ...
