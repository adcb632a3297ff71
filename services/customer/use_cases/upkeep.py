"""What is done every so often."""

from datetime import timedelta

from prometheus_client import Gauge
from sqlalchemy import text

from services.customer.use_cases.kept_events import forget_edits
from shared.clock import Clock
from shared.database import Database
from shared.jobs import UNATTRIBUTED_DAYS, forget_of_nobody

KEPT = Gauge("branchline_customer_kept_events", "Events of the core that are kept.", ["outcome"])

_COUNT = text(
    "select count(*) filter (where waits_for is null) as parked, count(*) filter (where waits_for is not null) as held"
    " from kept_event"
)


class Upkeep:
    """The service's jobs, with the clock that they were composed of."""

    def __init__(self, clock: Clock, unattributed_days: int = UNATTRIBUTED_DAYS) -> None:
        self._clock = clock
        self._unattributed = timedelta(days=unattributed_days)

    async def forget_edits(self, database: Database) -> None:
        await forget_edits(database, self._clock)

    async def forget_unattributed(self, database: Database) -> None:
        """Held and parked events, and what they were before they were mended, that name no known customer."""
        before = self._clock() - self._unattributed
        await forget_of_nobody(database, "kept_event", "kept_at", before)
        await forget_of_nobody(database, "kept_event_edit", "edited_at", before)

    async def count_kept_events(self, database: Database) -> None:
        """It takes so little that each replica comes to its turn, and none shows what was long ago."""
        async with database.transaction() as session:
            counted = (await session.execute(_COUNT)).one()
        KEPT.labels("parked").set(counted.parked)
        KEPT.labels("held").set(counted.held)
