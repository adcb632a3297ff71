"""What changed in an inbox, in order: each change has a number, and whoever reads on from one misses none.

The order of an identity column or of a clock is not the order of commits: a reader who has seen number 8 would
never see number 7, which committed later. Here a number is given while the inbox's row is locked, and the lock
is held until the commit, so that within one inbox numbers commit in order.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

log = structlog.get_logger(__name__)

# Locks the inboxes in one order, whoever comes; the notification leaves with the commit.
_NUMBER = text(
    "with numbered as ("
    "  insert into inbox as i (staff_id, last_sequence)"
    "  select staff_id, count from unnest(cast(:staff_ids as text[]), cast(:counts as bigint[])) as c (staff_id, count)"
    "  order by staff_id"
    "  on conflict (staff_id) do update set last_sequence = i.last_sequence + excluded.last_sequence"
    "  returning staff_id, last_sequence)"
    " select staff_id, last_sequence, pg_notify('inbox_changed', staff_id) from numbered"
)


async def number_changes(session: AsyncSession, staff_ids: Sequence[str]) -> list[int]:
    """A number for each change, given whose inbox it is in. Locks those inboxes until the transaction ends."""
    counts = Counter(staff_ids)
    found = await session.execute(
        _NUMBER, {"staff_ids": sorted(counts), "counts": [counts[staff_id] for staff_id in sorted(counts)]}
    )
    numbers: dict[str, Iterator[int]] = {
        staff_id: iter(range(last - counts[staff_id] + 1, last + 1)) for staff_id, last, _ in found
    }
    return [next(numbers[staff_id]) for staff_id in staff_ids]


class InboxBell:
    """Rings for whoever listens when their inbox has changed, whichever replica changed it.

    One connection of the process listens, while anybody does. It may ring for nothing, and what it misses while
    the connection is away is found by its listeners' own looking: they look now and then anyway.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._listening: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def listen(self, url: URL, staff_id: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set with every change of the inbox; the listener clears it."""
        rung = asyncio.Event()
        self._listeners[staff_id].add(rung)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen(url))
        try:
            yield rung
        finally:
            self._listeners[staff_id].discard(rung)
            if not self._listeners[staff_id]:
                del self._listeners[staff_id]
            if not self._listeners:
                listening, self._listening = self._listening, None
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening

    async def _listen(self, url: URL) -> None:
        address = url.set(drivername="postgresql").render_as_string(hide_password=False)
        delay = 0.1
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    address, autocommit=True, connect_timeout=5, keepalives_idle=30
                ) as connection:
                    await connection.execute("listen inbox_changed")
                    delay = 0.1
                    for staff_id in list(self._listeners):
                        self._ring(staff_id)
                    async for notification in connection.notifies():
                        self._ring(notification.payload)
            except psycopg.OperationalError as fault:
                log.warning("inbox_bell_waits", fault=type(fault).__name__, seconds=round(delay, 1))
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            delay = min(delay * 2, 10.0)

    def _ring(self, staff_id: str) -> None:
        for rung in self._listeners.get(staff_id, ()):
            rung.set()
