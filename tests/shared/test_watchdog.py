"""A process that does not get on is ended by its watchdog; one that was stopped for a while and goes on is not."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

from shared.watchdog import EXIT_CODE, Watchdog

SPAWNED = get_context("spawn")


def fed(for_seconds: float, then_blocked_for_seconds: float) -> None:
    """A process whose event loop feeds its watchdog for a while, and then hangs."""
    Watchdog.TICK_SECONDS = 0.1
    watchdog = Watchdog(seconds=0.5)

    async def live() -> None:
        watchdog.start()
        ends = time.monotonic() + for_seconds
        while time.monotonic() < ends:
            watchdog.feed()
            await asyncio.sleep(0.05)
        time.sleep(then_blocked_for_seconds)  # noqa: ASYNC251 - this is what it must notice
        watchdog.stop()

    asyncio.run(live())


@contextmanager
def running(work: Callable[[float, float], None], *given: float) -> Iterator[BaseProcess]:
    process = SPAWNED.Process(target=work, args=given)
    process.start()
    try:
        yield process
        process.join(30)
    finally:
        process.kill()
        process.join()


def test_a_process_whose_event_loop_is_blocked_is_ended() -> None:
    began = time.monotonic()
    with running(fed, 0.2, 60.0) as process:
        pass
    assert process.exitcode == EXIT_CODE
    assert time.monotonic() - began < 30


def test_a_process_that_gets_on_is_not_ended() -> None:
    with running(fed, 1.5, 0.0) as process:
        pass
    assert process.exitcode == 0


def test_a_process_that_was_stopped_and_goes_on_is_not_ended() -> None:
    """As by SIGSTOP, or on a machine that was asleep."""
    with running(fed, 4.0, 0.0) as process:
        assert process.pid is not None
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(process.pid, signal.SIGCONT)
    assert process.exitcode == 0
