"""What is made ahead has the long waits of a delivery, and nothing else of it; a delivery waits for nobody."""

import asyncio
from collections.abc import AsyncIterator, Generator

import pytest

from shared.spare_time import SpareTime, in_turns, long_wait, make_ahead, meanwhile, turn, use


@pytest.fixture
async def done() -> AsyncIterator[list[int]]:
    """What a task that makes things ahead has done by now, step by step, beside a delivery of the test's."""
    done: list[int] = []

    async def ahead() -> None:
        make_ahead()
        while True:
            await turn()
            done.append(len(done))

    spare_time = SpareTime()
    use(spare_time)
    task = asyncio.create_task(ahead())
    await a_while()
    assert done, "nothing is delivered yet"
    with spare_time.only_in_long_waits():
        await a_while()
        done.clear()
        yield done
    await a_while()
    assert done, "nothing is delivered any more"
    task.cancel()


async def a_while() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_delivery_has_the_loop_for_itself_but_in_its_long_waits(done: list[int]) -> None:
    await a_while()
    assert not done
    with long_wait():
        await a_while()
        with long_wait():
            await a_while()
        before = len(done)
        await a_while()
        assert len(done) > before > 0, "the inner wait has not ended the outer one"
    await a_while()
    after = len(done)
    await a_while()
    assert len(done) == after


async def test_what_a_delivery_makes_for_itself_does_not_wait_for_a_long_wait(done: list[int]) -> None:
    def steps() -> Generator[None, None, str]:
        yield
        yield
        return "made"

    async with asyncio.timeout(5):
        assert await in_turns(steps()) == "made"
    assert not done


async def test_without_a_consumer_there_is_always_time() -> None:
    with long_wait():
        make_ahead()
        async with asyncio.timeout(5):
            await turn()


async def test_meanwhile_writes_and_makes_at_once_and_fails_as_either_does() -> None:
    told = asyncio.Event()
    ended: list[str] = []
    made: list[str] = []

    async def write(fault: Exception | None = None) -> None:
        try:
            made.clear()
            await asyncio.sleep(0.01)
            assert not made, "what PostgreSQL waits for comes first"
            with long_wait():
                await told.wait()
            if fault:
                raise fault
        finally:
            ended.append("written")

    async def make(fault: Exception | None = None) -> str:
        if fault:
            raise fault
        made.append("made")
        told.set()
        return "made"

    async with asyncio.timeout(5):
        assert await meanwhile(write(), make()) == "made"
        with pytest.raises(ZeroDivisionError):
            await meanwhile(write(ZeroDivisionError()), make())
        told.clear()
        with pytest.raises(KeyError):
            await meanwhile(write(), make(KeyError()))
    assert ended == ["written"] * 3, "and nothing goes on behind its back"


async def test_meanwhile_is_given_up_as_a_whole() -> None:
    ended: list[str] = []

    async def forever(name: str) -> None:
        try:
            with long_wait():
                await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def ends() -> None: ...

    for making, each in ((forever("making"), ["making", "writing"]), (ends(), ["writing"])):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await meanwhile(forever("writing"), making)
        assert ended == each
        ended.clear()
