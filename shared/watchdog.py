"""Ends a process that does not get on, so that whoever started it starts it again."""

import os
import threading

import structlog

log = structlog.get_logger(__name__)

EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h."""


class Watchdog:
    """Ends the process when it was not fed for `seconds`: its event loop is blocked, or what feeds it has a reason.

    It ends at once and without a drain, as by kill -9: whatever is left of the process cannot be relied on.
    """

    TICK_SECONDS = 1.0

    def __init__(self, seconds: float = 60.0) -> None:
        self._most = seconds / self.TICK_SECONDS
        self._hungry = 0  # ticks, and not a clock: one that was stopped and goes on has not been hungry meanwhile
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def feed(self) -> None:
        self._hungry = 0

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self.TICK_SECONDS):
            self._hungry += 1
            if self._hungry > self._most:
                log.critical("ended_by_watchdog", hungry_ticks=self._hungry)
                os._exit(EXIT_CODE)
