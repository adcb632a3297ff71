"""Dated facts of a customer: accounts and their ends, contacts, complaints, surveys, life events, departures.

Each fact is kept by its own id, whether or not its customer is known yet, and its greatest revision
counts. Who gains or loses by it is scored anew from the first day that it touches.
"""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from services.scoring.domain import history
from services.scoring.models import Account, CustomerFact
from services.scoring.use_cases.arrays import date_array, is_among, uuid_array
from services.scoring.use_cases.due import Days, mark_due
from services.scoring.use_cases.restrictions import Changed, follow_restrictions, restricted_among
from services.scoring.use_cases.rules import Rules
from shared.events import Delivery
from shared.events.corebanking import ComplaintOutcome, LifeEventKind
from shared.events.customer import AccountChanged, CustomerChanged, LifeEventReported
from shared.events.interaction import ComplaintChanged, ContactLogged, SurveyAnswered
from shared.ids import derived_id
from shared.revisions import newest
from shared.scope import customer_scope, follow_customers

OUTCOMES = {ComplaintOutcome.REJECTED: 0, ComplaintOutcome.UPHELD: history.UPHELD}
IRREVOCABLE = frozenset({history.REJECTION, history.SURVEY, history.DEATH_IN_HOUSEHOLD})
"""Kinds of fact for which a day that is still open may alert."""


class NewFact(NamedTuple):
    fact_id: UUID
    customer_id: UUID
    kind: str
    began_on: date
    revision: int = 0
    ended_on: date | None = None
    value: int | None = None


def contacts(deliveries: Sequence[Delivery[ContactLogged]], rules: Rules) -> list[NewFact]:
    return [
        NewFact(event.contact_id, event.customer_id, history.CONTACT, rules.day_of(event.occurred_at))
        for event in (delivery.event for delivery in deliveries)
    ]


def complaints(deliveries: Sequence[Delivery[ComplaintChanged]], rules: Rules) -> list[NewFact]:
    """A rejection is a fact of its own: what a customer was told stays told, whatever the complaint becomes."""
    found = []
    for event in (delivery.event for delivery in deliveries):
        ended_on = rules.day_of(event.resolved_at) if event.resolved_at else None
        found.append(
            NewFact(
                event.complaint_id,
                event.customer_id,
                history.COMPLAINT,
                rules.day_of(event.opened_at),
                event.revision,
                ended_on,
                OUTCOMES[event.outcome] if event.outcome else None,
            )
        )
        if ended_on and event.outcome is ComplaintOutcome.REJECTED:
            rejection_id = derived_id(event.complaint_id, history.REJECTION)
            found.append(NewFact(rejection_id, event.customer_id, history.REJECTION, ended_on))
    return found


def surveys(deliveries: Sequence[Delivery[SurveyAnswered]], rules: Rules) -> list[NewFact]:
    return [
        NewFact(event.survey_id, event.customer_id, history.SURVEY, rules.day_of(event.answered_at), value=event.score)
        for event in (delivery.event for delivery in deliveries)
    ]


def life_events(deliveries: Sequence[Delivery[LifeEventReported]]) -> list[NewFact]:
    """Those that weigh on the score."""
    return [
        NewFact(event.life_event_id, event.customer_id, history.DEATH_IN_HOUSEHOLD, event.happened_on)
        for event in (delivery.event for delivery in deliveries)
        if event.kind is LifeEventKind.DEATH_IN_HOUSEHOLD
    ]


_RECORD = text(
    "insert into customer_fact as f (fact_id, customer_id, kind, revision, began_on, ended_on, value)"
    " select * from unnest(cast(:fact_id as uuid[]), cast(:customer_id as uuid[]), cast(:kind as text[]),"
    " cast(:revision as bigint[]), cast(:began_on as date[]), cast(:ended_on as date[]), cast(:value as smallint[]))"
    " on conflict (fact_id) do update set revision = excluded.revision, began_on = excluded.began_on,"
    " ended_on = excluded.ended_on, value = excluded.value"
    " where f.revision < excluded.revision"
    " or f.kind = 'rejection' and excluded.began_on < f.began_on"
)


async def record_facts(session: AsyncSession, partition: int, facts: Sequence[NewFact]) -> None:
    """Keeps each fact at its greatest revision; a rejection at its first day."""
    if not facts:
        return
    days = Days([fact.customer_id for fact in facts])
    await mark_due(session, partition, days.first)
    known = await _known_facts(session, [fact.fact_id for fact in facts])
    newest: dict[UUID, NewFact] = {}
    for fact in facts:
        before = newest.get(fact.fact_id) or known.get(fact.fact_id)
        if before is None:
            days.touch(fact.customer_id, fact.began_on)
        elif _is_newer(fact, before):
            days.touch(fact.customer_id, *_touched(before, fact))
        else:
            continue
        newest[fact.fact_id] = fact
    await mark_due(session, partition, days.touched)
    rows = [newest[fact_id] for fact_id in sorted(newest)]
    await session.execute(
        _RECORD,
        {
            "fact_id": uuid_array(row.fact_id for row in rows),
            "customer_id": uuid_array(row.customer_id for row in rows),
            "kind": [row.kind for row in rows],
            "revision": [row.revision for row in rows],
            "began_on": date_array(row.began_on for row in rows),
            "ended_on": date_array(row.ended_on for row in rows),
            "value": [row.value for row in rows],
        },
    )


def _is_newer(fact: NewFact, before: NewFact) -> bool:
    if fact.kind == history.REJECTION:
        return fact.began_on < before.began_on
    return fact.revision > before.revision


def _touched(before: NewFact, after: NewFact) -> list[date | None]:
    """The days from which the two differ."""
    if before.began_on != after.began_on:
        return [before.began_on, after.began_on]
    if (before.ended_on, before.value) != (after.ended_on, after.value):
        return [before.ended_on, after.ended_on]
    return []


async def _known_facts(session: AsyncSession, fact_ids: Sequence[UUID]) -> dict[UUID, NewFact]:
    columns = [getattr(CustomerFact, name) for name in NewFact._fields]
    rows = await session.execute(select(*columns).where(is_among(CustomerFact.fact_id, fact_ids)))
    return {row.fact_id: NewFact(*row) for row in rows}


_RECORD_ACCOUNT = text(
    "insert into account as a"
    " (customer_id, account_id, currency, revision, kind, opened_on, matures_on, closed_on)"
    " select * from unnest(cast(:customer_id as uuid[]), cast(:account_id as uuid[]), cast(:currency as text[]),"
    " cast(:revision as bigint[]), cast(:kind as text[]), cast(:opened_on as date[]), cast(:matures_on as date[]),"
    " cast(:closed_on as date[]))"
    " on conflict (customer_id, account_id) do update set currency = excluded.currency, revision = excluded.revision,"
    " kind = excluded.kind, opened_on = excluded.opened_on, matures_on = excluded.matures_on,"
    " closed_on = excluded.closed_on where a.revision is null or a.revision < excluded.revision"
)
_FIRST_BOOKED = text(
    "select d.customer_id, d.account_id, min(d.booked_on) as day from daily_aggregate d"
    " join unnest(cast(:customers as uuid[]), cast(:accounts as uuid[])) w (c, a)"
    " on d.customer_id = w.c and d.account_id = w.a group by d.customer_id, d.account_id"
)
_TOUCH_FORMER_HOLDERS = text(
    "update customer_score s set due_on = least(s.due_on, m.opened_on, f.booked_on)"
    " from unnest(cast(:account_id as uuid[]), cast(:customer_id as uuid[]), cast(:opened_on as date[]))"
    " as m (account_id, customer_id, opened_on)"
    " join account a on a.account_id = m.account_id and a.customer_id <> m.customer_id"
    " cross join lateral (select min(d.booked_on) as booked_on from daily_aggregate d"
    "   where d.customer_id = a.customer_id and d.account_id = a.account_id) f"
    " where s.customer_id = a.customer_id"
)


async def record_accounts(session: AsyncSession, deliveries: Sequence[Delivery[AccountChanged]]) -> None:
    """Keeps each account at its greatest revision, which also says whose it is."""
    latest = newest((delivery.event for delivery in deliveries), lambda event: (event.customer_id, event.account_id))
    days = Days([customer_id for customer_id, _ in latest])
    partition = deliveries[0].partition
    await mark_due(session, partition, days.first)
    wanted = is_among(Account.account_id, [account_id for _, account_id in latest])
    known = {(row.customer_id, row.account_id): row for row in await session.scalars(select(Account).where(wanted))}
    other_kind = []
    for account, event in latest.items():
        before = known.get(account)
        if before is None:
            days.touch(event.customer_id, event.opened_on)
        elif before.kind != event.kind and event.revision > (before.revision or -1):
            days.touch(event.customer_id, event.opened_on, before.opened_on)
            other_kind.append(account)
        elif event.revision > (before.revision or -1):
            days.touch(event.customer_id, *_touched_by_account(before, event))
    for customer_id, _, day in await _first_booked(session, other_kind):
        days.touch(customer_id, day)
    await mark_due(session, partition, days.touched)
    rows = [latest[account] for account in sorted(latest)]
    identities = {
        "customer_id": uuid_array(row.customer_id for row in rows),
        "account_id": uuid_array(row.account_id for row in rows),
        "opened_on": date_array(row.opened_on for row in rows),
    }
    await session.execute(
        _RECORD_ACCOUNT,
        {
            **identities,
            "currency": [row.currency for row in rows],
            "revision": [row.revision for row in rows],
            "kind": [row.kind for row in rows],
            "matures_on": date_array(row.matures_on for row in rows),
            "closed_on": date_array(row.closed_on for row in rows),
        },
    )
    if known.keys() - latest.keys():
        await session.execute(_TOUCH_FORMER_HOLDERS, identities)


async def _first_booked(
    session: AsyncSession, accounts: Sequence[tuple[UUID, UUID]]
) -> Sequence[tuple[UUID, UUID, date]]:
    """The first day with transactions of each account that has any."""
    if not accounts:
        return []
    customers, account_ids = zip(*accounts, strict=True)
    rows = await session.execute(
        _FIRST_BOOKED, {"customers": uuid_array(customers), "accounts": uuid_array(account_ids)}
    )
    return [(row.customer_id, row.account_id, row.day) for row in rows]


def _touched_by_account(before: Account, after: AccountChanged) -> list[date | None]:
    if before.opened_on != after.opened_on:
        return [before.opened_on, after.opened_on]
    if (before.matures_on, before.closed_on) != (after.matures_on, after.closed_on):
        return [before.matures_on, before.closed_on, after.matures_on, after.closed_on]
    return []


async def follow_customer_state(
    session: AsyncSession, deliveries: Sequence[Delivery[CustomerChanged]], rules: Rules
) -> None:
    """Keeps who looks after a customer, whether they have left, and whether they are restricted."""
    partition = deliveries[0].partition
    days = Days(sorted({delivery.event.customer_id for delivery in deliveries}))
    await mark_due(session, partition, days.first)
    before = await _departures(session, list(days.first))
    were_restricted = await restricted_among(session, list(days.first))
    await follow_customers(session, deliveries)
    after = await _departures(session, list(days.first))
    for customer_id in days.first:
        if before.get(customer_id) != after.get(customer_id):
            days.touch(customer_id, before.get(customer_id), after.get(customer_id))
    await mark_due(session, partition, days.touched)
    restricted = await restricted_among(session, list(days.first))
    changed = Changed(restricted - were_restricted, were_restricted - restricted)
    if any(changed):
        await follow_restrictions(session, changed, rules, deliveries[-1])


async def _departures(session: AsyncSession, customer_ids: Sequence[UUID]) -> dict[UUID, date | None]:
    wanted = is_among(customer_scope.c.customer_id, customer_ids)
    rows = await session.execute(select(customer_scope.c.customer_id, customer_scope.c.left_on).where(wanted))
    return {row.customer_id: row.left_on for row in rows}
