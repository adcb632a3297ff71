"""What is done every so often."""

from prometheus_client import Gauge

from services.notification.use_cases import alerts, inbox
from shared.clock import Clock
from shared.database import Database

UNRESOLVED = Gauge("branchline_notification_unresolved_alerts", "Alerts that nobody is known for who could be told.")


class Upkeep:
    """The service's jobs, with the clock that they were composed of."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def return_snoozed_items(self, database: Database) -> None:
        while True:
            async with database.transaction() as session:
                looked_at = await inbox.return_snoozed_items(session, self._clock())
            if looked_at < inbox.RETURNED_AT_ONCE:
                return

    async def tell_those_responsible(self, database: Database) -> None:
        """Finds what two deliveries at the same moment, an alert's and its manager's, could not see of each other."""
        async with database.transaction() as session:
            await alerts.tell_those_responsible(session, self._clock())
            UNRESOLVED.set(await alerts.count_unresolved(session))
