"""The core's topic in: the same use case as the HTTP boundary."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.core_records import Read, RecordReader
from services.customer.use_cases.ingestion import Rules, receive_events
from services.customer.use_cases.receiving import Outcome, Remembered
from shared.clock import Clock
from shared.messaging.dead_letters import Parked, count_as_parked, park
from shared.messaging.records import Record
from shared.messaging.seen import write_once
from shared.spare_time import in_turns


class CoreBanking:
    """Handler of `corebanking.events`, with what it was composed of."""

    def __init__(self, rules: Rules, clock: Clock, remembered: Remembered | None = None) -> None:
        self._rules = rules
        self._clock = clock
        self._remembered = remembered or Remembered()
        self._reader = RecordReader()

    async def read_core_events(self, records: Sequence[Record]) -> Read:
        """What can be made of records before those before them are written, bit by bit."""
        return await in_turns(self._reader.reading(records, self._clock()))

    async def receive_core_events(self, session: AsyncSession, read: Read) -> None:
        """Applies, holds or parks each event; what has no identity becomes a dead letter."""
        known = self._remembered
        await write_once(session, lambda: self._receive(session, read), known.events, known.transactions)

    async def _receive(self, session: AsyncSession, read: Read) -> None:
        now, records = self._clock(), read.records
        received, unreadable = read.one_by_one(now)
        await park(session, [Parked(records[each.line], each.code, each.detail) for each in unreadable])
        settled = await receive_events(
            session,
            received,
            rules=self._rules,
            now=now,
            remembered=self._remembered,
            transactions=read.transactions,
        )
        parked = [event for event in (*received, *settled.left) if event.outcome is Outcome.PARKED]
        count_as_parked(session, [records[event.line] for event in parked])
