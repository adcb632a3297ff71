"""What a service hears, as one list."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar, overload

from sqlalchemy.ext.asyncio import AsyncSession

from shared.events import Delivery, Event
from shared.messaging.records import Record

E = TypeVar("E", bound=Event)
P = TypeVar("P")
Handler = Callable[[AsyncSession, Sequence[Delivery[E]]], Awaitable[None]]
Admission = Callable[[AsyncSession, Sequence[Delivery[Any]]], Awaitable[list[Delivery[Any]]]]
RecordHandler = Callable[[AsyncSession, Sequence[Record]], Awaitable[None]]
Preparation = Callable[[Sequence[Record]], Awaitable[P]]
PreparedHandler = Callable[[AsyncSession, P], Awaitable[None]]


class Subscription(NamedTuple):
    handler: Handler[Any]
    commutative: bool


class RecordSubscription(NamedTuple):
    """`handler` gets what `prepare` makes of the records, or the records themselves where there is none."""

    handler: PreparedHandler[Any]
    prepare: Preparation[Any] | None = None

    async def deliver(self, session: AsyncSession, records: Sequence[Record], prepared: Any = None) -> None:
        """`prepared` is what was made of these records before; None where nothing was."""
        if self.prepare is None:
            await self.handler(session, records)
        else:
            await self.handler(session, await self.prepare(records) if prepared is None else prepared)


class Run(NamedTuple):
    """Events that one call of a handler gets."""

    subscription: Subscription
    deliveries: list[Delivery[Any]]


class Subscriptions:
    """`group` is the consumer group on Kafka; the service's name."""

    def __init__(self, group: str) -> None:
        self.group = group
        self._by_type: dict[type[Event], Subscription] = {}
        self._by_topic: dict[str, RecordSubscription] = {}
        self.admit: Admission | None = None
        """Which of the deliveries are handed to handlers; all where it is None."""

    def on(self, event_type: type[E], handler: Handler[E], *, commutative: bool = False) -> None:
        """`handler` gets runs of consecutive events of the type, in order, each event once.

        Declared commutative, its order to events of other types does not matter: it gets all of a
        batch's events of its type at once, before the others.
        """
        if event_type in self._by_type:
            raise ValueError(f"{event_type.TYPE} is subscribed to twice")
        self._by_type[event_type] = Subscription(handler, commutative)

    @overload
    def on_records(self, topic: str, handler: RecordHandler) -> None: ...
    @overload
    def on_records(self, topic: str, handler: PreparedHandler[P], prepare: Preparation[P]) -> None: ...
    def on_records(self, topic: str, handler: PreparedHandler[Any], prepare: Preparation[Any] | None = None) -> None:
        """`handler` gets the topic's records undecoded, at least once, and deduplicates and parks by itself.

        With `prepare`, it gets what that makes of them, once or again. `prepare` runs while the batch before is
        written: it asks no database, knows nothing that a rollback would take back, and lets others have the loop every
        millisecond. What it makes is thrown away when the partition is lost.
        """
        if topic in self._by_topic:
            raise ValueError(f"{topic} is subscribed to twice")
        self._by_topic[topic] = RecordSubscription(handler, prepare)

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(sorted({event_type.TOPIC for event_type in self._by_type} | set(self._by_topic)))

    def for_records(self, topic: str) -> RecordSubscription | None:
        return self._by_topic.get(topic)

    def hears(self, event_type: type[Event]) -> bool:
        return event_type in self._by_type

    def runs(self, deliveries: Sequence[Delivery[Any]]) -> list[Run]:
        """The calls to make for a batch, in order."""
        grouped: dict[type[Event], Run] = {}
        ordered: list[Run] = []
        for delivery in deliveries:
            event_type = type(delivery.event)
            subscription = self._by_type[event_type]
            if subscription.commutative:
                grouped.setdefault(event_type, Run(subscription, [])).deliveries.append(delivery)
            elif ordered and type(ordered[-1].deliveries[0].event) is event_type:
                ordered[-1].deliveries.append(delivery)
            else:
                ordered.append(Run(subscription, [delivery]))
        return [*grouped.values(), *ordered]
