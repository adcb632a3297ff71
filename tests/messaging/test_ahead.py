"""What a source makes ahead stands back for the delivery under way, but for its long waits: the consumer sees to it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery
from shared.messaging.embedded import EmbeddedSource
from shared.messaging.source import Positions, Prepare, unprepared
from shared.spare_time import long_wait, make_ahead, turn
from tests.messaging.line import Line, eventually, hearing, survey


class Ahead:
    """Something that is made ahead, without end: `steps` is how far it has come."""

    def __init__(self) -> None:
        self.steps = 0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.create_task(self._make())

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _make(self) -> None:
        make_ahead()
        while True:
            await turn()
            self.steps += 1

    async def in_a_while(self) -> int:
        """How many steps it takes while the loop goes round ten times."""
        before = self.steps
        for _ in range(10):
            await asyncio.sleep(0)
        return self.steps - before


class SourceWithAhead(EmbeddedSource):
    """Begins it as Kafka's source does: in a task of the consumer's."""

    ahead: Ahead

    async def start(
        self, group: str, topics: Sequence[str], positions: Positions, prepare: Prepare = unprepared
    ) -> None:
        await super().start(group, topics, positions, prepare)
        self.ahead.begin()


@pytest.fixture
async def ahead() -> AsyncIterator[Ahead]:
    ahead = Ahead()
    yield ahead
    await ahead.end()


async def test_what_is_made_ahead_has_a_deliverys_long_waits_and_nothing_else_of_it(
    embedded: Line, ahead: Ahead
) -> None:
    seen: dict[str, int] = {}

    async def deliver(session: AsyncSession, _: Sequence[Delivery[Any]]) -> None:
        before = ahead.steps
        await session.execute(text("select 1"))
        await ahead.in_a_while()
        seen["while it is delivered"] = ahead.steps - before
        with long_wait():
            seen["in a long wait"] = await ahead.in_a_while()
        seen["and after it"] = await ahead.in_a_while()

    source = embedded.transport.source()
    assert isinstance(source, EmbeddedSource)
    watched = SourceWithAhead(source._log)
    watched.ahead = ahead
    async with embedded.consuming(hearing(embedded.group, deliver), source=watched), embedded.relaying():
        await eventually(lambda: ahead.steps > 0)
        await embedded.publish(survey(1))
        await eventually(lambda: "and after it" in seen)
        at = ahead.steps
        await eventually(lambda: ahead.steps > at)
    assert seen.pop("in a long wait") > 0
    assert seen == {"while it is delivered": 0, "and after it": 0}
