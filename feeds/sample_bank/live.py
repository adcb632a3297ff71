"""Keeps the sample bank going while a demo runs: the days that were missed first, then the open day as it happens."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, date, datetime, timedelta

from feeds.sample_bank.bank import later_lines
from feeds.sample_bank.trickle import INTERVAL, OpenDay, number_at

BACKLOG = 150
"""How many events of the open day are made up for after a pause: the last minute's."""

Send = Callable[[Iterable[bytes]], Awaitable[object]]
OnClosed = Callable[[date], Awaitable[None]]


async def keep_going(
    send: Send, *, seed: int, until: date, closed: date, clock: Callable[[], datetime], on_closed: OnClosed
) -> None:
    """Sends what happens from now on, until it is cancelled; what `send` raises ends it.

    `closed` is the last day that was sent as a whole, `until` at first; `on_closed` is told each that follows, to be
    stored. A day is sent again when that could not be: its events are the same, so they count once.
    """
    while True:
        today = clock().astimezone(UTC).date()
        yesterday = today - timedelta(days=1)
        if closed < yesterday:
            await send(later_lines(seed, until, closed + timedelta(days=1), yesterday))
            closed = yesterday
            await on_closed(closed)
        open_day = await asyncio.to_thread(OpenDay, seed, until, today)
        following = number_at(clock())
        while (now := clock()).astimezone(UTC).date() == today:
            due = number_at(now)
            lines = [open_day.line(number) for number in range(max(following, due - BACKLOG), due + 1)]
            if lines:
                await send(lines)
                following = due + 1
            await asyncio.sleep(INTERVAL.total_seconds())
