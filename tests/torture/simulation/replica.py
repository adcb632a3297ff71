"""A replica of a service in the simulation: its consumer and its relay, run and stopped as `shared.service` does it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery
from shared.events.corebanking import LifeEventKind
from shared.events.customer import LifeEventReported, SurveyReported
from shared.messaging.consumer import Consumer
from shared.messaging.outbox import publish
from shared.messaging.records import Record, TopicPartition
from shared.messaging.relay import Relay
from shared.messaging.subscriptions import Subscriptions
from shared.service import Background
from tests.torture.simulation.log import SimulatedPublisher, SimulatedSource
from tests.torture.simulation.machine import Machine, SimulatedDatabase, lock_customer, running_on
from tests.torture.simulation.store import NOTE_EFFECTS, Effect

EVENTS, RAW = SurveyReported.TOPIC, "raw"
FAILING = 7
"""A handler fails for every so many of a customer's revisions."""
FUSSY = 2
"""From every so many offsets on, a handler of records does not take several at once."""
ANSWERED = 3
"""Every so many cause another event."""
DRAIN_SECONDS = 10.0


class Replica:
    def __init__(
        self,
        machine: Machine,
        database: SimulatedDatabase,
        source: SimulatedSource,
        publisher: SimulatedPublisher,
        *,
        batch: int,
    ) -> None:
        self.machine = machine
        self.database = database
        self.background = Background(machine.name)
        self._consumer = Consumer("simulated", database, source, self._subscriptions(), batch=batch)
        self._relay = Relay("simulated", database, publisher, batch=batch)
        running_on.set(machine)
        self.background.start("relay", self._relay.run())
        self.background.start("consumer", self._consumer.run())

    async def stop(self) -> None:
        """As the service does it when it is told to end."""
        self._consumer.stop()
        self._relay.stop()
        await self.background.stop(DRAIN_SECONDS)

    def kill(self) -> None:
        self.machine.kill()
        for task in self.background.tasks:
            task.cancel()

    def _subscriptions(self) -> Subscriptions:
        subscriptions = Subscriptions("simulated")
        subscriptions.on(SurveyReported, self._note_and_answer)
        subscriptions.on(LifeEventReported, self._note_answers)
        subscriptions.on_records(RAW, self._note_records, prepare=effects_of_records)
        return subscriptions

    async def _note_and_answer(self, session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        await note(session, [effect_of(each, each.event.score) for each in deliveries])
        if any(fails(delivery.event) for delivery in deliveries):
            raise ValueError
        if self.machine.fails():
            raise ConnectionError  # something else that the handler asked is away
        answered = [delivery for delivery in deliveries if delivery.event.score % ANSWERED == 0]
        for delivery in sorted(answered, key=lambda each: each.event.key):
            revision = await lock_customer(session, delivery.event.customer_id)
            publish(session, answer(delivery.event.customer_id, revision), cause=delivery)

    async def _note_answers(self, session: AsyncSession, deliveries: Sequence[Delivery[LifeEventReported]]) -> None:
        await note(session, [effect_of(each, each.event.happened_on.toordinal()) for each in deliveries])

    async def _note_records(self, session: AsyncSession, effects: Sequence[Effect]) -> None:
        await note(session, effects)
        if len(effects) > 1 and effects[0].offset % FUSSY == 0:
            raise ValueError  # of each alone it takes them


async def effects_of_records(records: Sequence[Record]) -> list[Effect]:
    at = TopicPartition(records[0].topic, records[0].partition)
    return [Effect(None, None, -1, at, record.offset) for record in records]


def fact(customer: UUID, revision: int) -> SurveyReported:
    return SurveyReported(
        customer_id=customer, survey_id=customer, answered_at=datetime(2026, 11, 24, tzinfo=UTC), score=revision
    )


def answer(customer: UUID, revision: int) -> LifeEventReported:
    """The day stands for the revision."""
    return LifeEventReported(
        customer_id=customer,
        life_event_id=customer,
        kind=LifeEventKind.MOVE,
        happened_on=date.fromordinal(revision),
    )


def fails(event: SurveyReported) -> bool:
    """Whether no handler gets along with the event, ever."""
    return event.score % FAILING == 0


def effect_of(delivery: Delivery[Any], revision: int) -> Effect:
    return Effect(delivery.id, delivery.event.customer_id, revision, TopicPartition(EVENTS, delivery.partition))


async def note(session: AsyncSession, effects: Sequence[Effect]) -> None:
    await session.execute(NOTE_EFFECTS, effects)  # type: ignore[call-overload] # a statement of the simulation's own
