"""The sample bank while a demo runs."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest

from feeds import sample_bank
from feeds.sample_bank import live
from shared.events.corebanking import BusinessDayClosed
from tests.feeds.sample import SEED, UNTIL, opened

TODAY = UNTIL + timedelta(days=1)


class Demo:
    """Its clock goes on by `step` whenever it is read."""

    def __init__(self, now: datetime, step: timedelta) -> None:
        self.now = now
        self.step = step
        self.lines: list[bytes] = []
        self.closed: list[date] = []

    def clock(self) -> datetime:
        self.now += self.step
        return self.now

    async def send(self, lines: Iterable[bytes]) -> None:
        self.lines += lines

    async def on_closed(self, day: date) -> None:
        self.closed.append(day)

    async def run(self, closed: date, lines: int) -> None:
        """Until there are so many lines."""
        going = asyncio.create_task(
            sample_bank.keep_going(
                self.send, seed=SEED, until=UNTIL, closed=closed, clock=self.clock, on_closed=self.on_closed
            )
        )
        async with asyncio.timeout(60):
            while len(self.lines) < lines:
                await asyncio.wait({going}, timeout=0.01)
                if going.done():
                    going.result()
        going.cancel()
        await asyncio.wait({going})


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "INTERVAL", timedelta(milliseconds=1))


def at(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


def closings(lines: list[bytes]) -> list[date]:
    return [event.business_date for _, event in map(opened, lines) if isinstance(event, BusinessDayClosed)]


async def test_the_open_day_is_told_as_it_happens_without_a_gap() -> None:
    demo = Demo(at(TODAY, 10), timedelta(seconds=1))
    await demo.run(closed=UNTIL, lines=200)
    first = sample_bank.number_at(at(TODAY, 10)) + 5
    assert demo.lines[:200] == list(islice(sample_bank.trickle(SEED, UNTIL, TODAY, first), 200))
    assert all(opened(line)[0].time <= demo.now for line in demo.lines)


async def test_days_that_were_missed_are_told_first_and_as_a_whole() -> None:
    demo = Demo(at(TODAY + timedelta(days=3), 9), timedelta(milliseconds=400))
    missed = list(sample_bank.later_lines(SEED, UNTIL, TODAY, TODAY + timedelta(days=2)))
    await demo.run(closed=UNTIL, lines=len(missed) + 10)
    assert demo.lines[: len(missed)] == missed
    assert closings(demo.lines) == [TODAY + timedelta(days=day) for day in range(3)]
    assert demo.closed == [TODAY + timedelta(days=2)]


async def test_at_midnight_the_day_is_told_as_a_whole_and_the_next_one_opens() -> None:
    demo = Demo(at(TODAY, 23, 59), timedelta(seconds=5))
    await demo.run(closed=UNTIL, lines=1_500)
    assert closings(demo.lines) == demo.closed == [TODAY]
    assert opened(demo.lines[-1])[0].time.date() == TODAY + timedelta(days=1)


async def test_after_a_pause_only_the_last_minute_is_made_up_for() -> None:
    demo = Demo(at(TODAY, 10), timedelta(seconds=1))
    await demo.run(closed=UNTIL, lines=10)
    demo.lines.clear()

    async def pause(lines: Iterable[bytes]) -> None:
        demo.lines += lines
        demo.now, demo.step = at(TODAY, 15), timedelta(0)

    demo.send = pause  # type: ignore[method-assign] # a stand-in for the method
    await demo.run(closed=UNTIL, lines=live.BACKLOG + 1)
    after = [line for line in demo.lines if opened(line)[0].time > at(TODAY, 14)]
    assert len(after) == live.BACKLOG + 1
    assert opened(after[-1])[0].time == at(TODAY, 15)
