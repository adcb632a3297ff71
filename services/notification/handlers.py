"""Events in: who looks after whom, who can be told, and what about."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.use_cases import alerts
from services.notification.use_cases.recipients import keep_recipients
from shared import scope
from shared.clock import Clock
from shared.events import Delivery
from shared.events.customer import CustomerChanged, ManagerChanged, PortfolioDelegated
from shared.events.scoring import ChurnAlertClosed, ChurnAlertRaised


class Handlers:
    """The service's handlers, with the clock that they were composed of."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def follow_customers(self, session: AsyncSession, deliveries: Sequence[Delivery[CustomerChanged]]) -> None:
        """Keeps the scope, and has alerts follow their customers to who looks after them now."""
        await scope.follow_customers(session, deliveries)
        causes = {delivery.event.customer_id: delivery for delivery in deliveries}
        restricted = [customer_id for customer_id, delivery in causes.items() if delivery.event.restricted]
        if restricted:
            await alerts.cancel_deliveries_about_restricted(session, restricted)
        await alerts.tell_those_responsible(session, self._clock(), customer_ids=sorted(causes), causes=causes)

    async def follow_delegations(
        self, session: AsyncSession, deliveries: Sequence[Delivery[PortfolioDelegated]]
    ) -> None:
        """Keeps the delegations, and tells those who look after customers meanwhile of what waits."""
        await scope.follow_delegations(session, deliveries)
        await alerts.tell_those_responsible(session, self._clock())

    async def follow_managers(self, session: AsyncSession, deliveries: Sequence[Delivery[ManagerChanged]]) -> None:
        """Keeps the recipients, and tells those who are responsible now of what waits for them."""
        await keep_recipients(session, [delivery.event for delivery in deliveries])
        await alerts.tell_those_responsible(session, self._clock())

    async def deliver_alerts(self, session: AsyncSession, deliveries: Sequence[Delivery[ChurnAlertRaised]]) -> None:
        await alerts.record_alerts(session, deliveries, self._clock())

    async def withdraw_alerts(self, session: AsyncSession, deliveries: Sequence[Delivery[ChurnAlertClosed]]) -> None:
        await alerts.close_alerts(session, deliveries)
