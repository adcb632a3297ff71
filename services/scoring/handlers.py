"""Events in. None of them minds in which order or in which batches they come."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.scoring.use_cases import alerts, facts, scoring, transactions
from services.scoring.use_cases.facts import IRREVOCABLE, NewFact
from services.scoring.use_cases.rules import Rules
from shared.events import Delivery
from shared.events.customer import AccountChanged, CustomerChanged, LifeEventReported, TransactionsPosted
from shared.events.interaction import ComplaintChanged, ContactLogged, RetentionOutcomeRecorded, SurveyAnswered


class Handlers:
    """What scoring does about what it hears, by the rules that it was composed with.

    A handler writes what it heard first, then scores what that made due: late news at once, other news
    when its day closes.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    async def aggregate_transactions(
        self, session: AsyncSession, deliveries: Sequence[Delivery[TransactionsPosted]]
    ) -> None:
        await transactions.aggregate_transactions(session, deliveries)
        await self._score(session, deliveries)

    async def close_days(self, session: AsyncSession, deliveries: Sequence[Delivery[scoring.Close]]) -> None:
        await scoring.close_days(session, deliveries, self._rules)

    async def follow_customers(self, session: AsyncSession, deliveries: Sequence[Delivery[CustomerChanged]]) -> None:
        await facts.follow_customer_state(session, deliveries, self._rules)
        await self._score(session, deliveries)

    async def follow_accounts(self, session: AsyncSession, deliveries: Sequence[Delivery[AccountChanged]]) -> None:
        await facts.record_accounts(session, deliveries)
        await self._score(session, deliveries)

    async def note_life_events(self, session: AsyncSession, deliveries: Sequence[Delivery[LifeEventReported]]) -> None:
        await self._record(session, deliveries, facts.life_events(deliveries))

    async def note_contacts(self, session: AsyncSession, deliveries: Sequence[Delivery[ContactLogged]]) -> None:
        await self._record(session, deliveries, facts.contacts(deliveries, self._rules))

    async def note_complaints(self, session: AsyncSession, deliveries: Sequence[Delivery[ComplaintChanged]]) -> None:
        await self._record(session, deliveries, facts.complaints(deliveries, self._rules))

    async def note_surveys(self, session: AsyncSession, deliveries: Sequence[Delivery[SurveyAnswered]]) -> None:
        await self._record(session, deliveries, facts.surveys(deliveries, self._rules))

    async def close_alerts(
        self, session: AsyncSession, deliveries: Sequence[Delivery[RetentionOutcomeRecorded]]
    ) -> None:
        await alerts.record_outcomes(session, deliveries, self._rules)
        await self._score(session, deliveries, {delivery.event.customer_id: [] for delivery in deliveries})

    async def _record(
        self, session: AsyncSession, deliveries: Sequence[Delivery[Any]], found: Sequence[NewFact]
    ) -> None:
        await facts.record_facts(session, deliveries[0].partition, found)
        touched: dict[UUID, list[date]] = {}
        for fact in found:
            if fact.kind in IRREVOCABLE:
                touched.setdefault(fact.customer_id, []).append(fact.began_on)
        await self._score(session, deliveries, touched)

    async def _score(
        self,
        session: AsyncSession,
        deliveries: Sequence[Delivery[Any]],
        open_day: Mapping[UUID, Sequence[date]] | None = None,
    ) -> None:
        cause = deliveries[-1]
        last_closed = await scoring.score_news(session, cause.partition, self._rules, cause)
        if open_day:
            if self._rules.open_day(last_closed) is None:
                last_closed = await scoring.last_closed_by_now(session, cause.partition)
            await alerts.review_open_day(session, last_closed, open_day, self._rules, cause)
