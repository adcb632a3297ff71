"""The time in which a consumer waits for PostgreSQL to write, spent on making the next batch ready.

What is made ahead has its turn only in the long waits of the delivery under way, such as for a COPY, and when nothing
is delivered: the delivery's short questions are not kept waiting by it.
"""

import asyncio
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


class SpareTime:
    """One consumer's."""

    def __init__(self) -> None:
        self._there = asyncio.Event()
        self._there.set()

    @contextmanager
    def only_in_long_waits(self) -> Iterator[None]:
        """Meanwhile a batch is delivered."""
        self._there.clear()
        try:
            yield
        finally:
            self._there.set()

    @contextmanager
    def long_wait(self) -> Iterator[None]:
        was_there = self._there.is_set()
        self._there.set()
        try:
            yield
        finally:
            if not was_there:
                self._there.clear()

    async def wait(self) -> None:
        await self._there.wait()


_of_consumer: ContextVar[SpareTime | None] = ContextVar("of_consumer", default=None)
_made_ahead: ContextVar[bool] = ContextVar("made_ahead", default=False)
_first_long_wait: ContextVar[asyncio.Event | None] = ContextVar("first_long_wait", default=None)


def use(spare_time: SpareTime) -> None:
    """This task, and those that it begins, are one consumer's."""
    _of_consumer.set(spare_time)


def make_ahead() -> None:
    """This task, and those that it begins, are for the next batch. Nothing that is delivered may wait for them."""
    _made_ahead.set(True)


@contextmanager
def long_wait() -> Iterator[None]:
    """For some milliseconds, for PostgreSQL."""
    if (first := _first_long_wait.get()) is not None:
        first.set()
    spare_time = _of_consumer.get()
    if spare_time is None:
        yield
    else:
        with spare_time.long_wait():
            yield


async def turn() -> None:
    """Lets others have the event loop; of what is made ahead, a delivery for as long as it needs it."""
    await asyncio.sleep(0)
    spare_time = _of_consumer.get()
    if spare_time is not None and _made_ahead.get():
        await spare_time.wait()


async def in_turns(steps: Generator[None, None, T]) -> T:
    """What `steps` return, which take a millisecond or two each."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await turn()


async def meanwhile(writing: Coroutine[None, None, None], making: Coroutine[None, None, T]) -> T:
    """What `making` returns, while PostgreSQL takes what is `writing`; both have ended when it returns or raises.

    It is made in the long waits of what is writing, for which PostgreSQL does not wait.
    """
    waits = asyncio.Event()

    async def write() -> None:
        _first_long_wait.set(waits)
        try:
            await writing
        finally:
            waits.set()

    written = asyncio.ensure_future(write())
    try:
        await waits.wait()
        made = await making
    except BaseException:
        making.close()
        written.cancel()
        await asyncio.wait({written})
        raise
    await written
    return made
