"""What other systems of the bank report about a customer: conversations, complaints, surveys, life events."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.models import Customer, ReportedFact
from services.customer.use_cases.parties import find_customers, hold_for_parties
from services.customer.use_cases.receiving import Received, any_of, by_source, newest_revisions, of_type
from shared.events import Event
from shared.events.corebanking import (
    ComplaintRecorded,
    ContactRecorded,
    CoreBankingEvent,
    LifeEventRecorded,
    SurveyAnswered,
)
from shared.events.customer import ComplaintReported, ContactReported, LifeEventReported, SurveyReported
from shared.ids import derived_id
from shared.messaging.outbox import publish

Reported = ContactRecorded | ComplaintRecorded | SurveyAnswered | LifeEventRecorded
REPORTED: tuple[type[Reported], ...] = (ContactRecorded, ComplaintRecorded, SurveyAnswered, LifeEventRecorded)
_KINDS: dict[type[CoreBankingEvent], str] = {
    ContactRecorded: "contact",
    ComplaintRecorded: "complaint",
    SurveyAnswered: "survey",
    LifeEventRecorded: "life_event",
}
Identity = tuple[str, str, str]
"""(source, kind, the bank's id)"""


def _identity(received: Received, event: Any) -> Identity:
    kind = _KINDS[type(event)]
    return received.source, kind, getattr(event, f"{kind}_id")


async def report_facts(session: AsyncSession, received: Sequence[Received]) -> None:
    """Tells each fact once. A complaint has revisions; the others never change."""
    arrived: list[tuple[Received, Reported]] = of_type(received, *REPORTED)
    if not arrived:
        return
    customers = await find_customers(session, {(r.source, event.party_id) for r, event in arrived})
    for event_received, event in arrived:
        hold_for_parties(event_received, [(event.party_id, "/data/party_id")], customers)
    arrived = of_type(received, *REPORTED)
    identities = {_identity(r, event) for r, event in arrived}
    known: dict[Identity, tuple[int, int]] = {}
    for source, core_ids in by_source({(source, core_id) for source, _kind, core_id in identities}).items():
        rows = await session.scalars(
            select(ReportedFact).where(ReportedFact.source == source, ReportedFact.core_id == any_of(core_ids))
        )
        known |= {(f.source, f.kind, f.core_id): (f.revision, f.fingerprint) for f in rows}
    newest = newest_revisions(arrived, known, _identity, revision=lambda event: getattr(event, "revision", 0))
    facts = []
    for identity, (event_received, event) in newest.items():
        customer = customers[event_received.source, event.party_id]
        facts.append(
            {
                "source": identity[0],
                "kind": identity[1],
                "core_id": identity[2],
                "customer_id": customer.customer_id,
                "revision": getattr(event, "revision", 0),
                "fingerprint": event_received.fingerprint,
            }
        )
        publish(
            session,
            _TOLD[type(event)](event, customer.customer_id, _fact_id(customer, identity)),
            occurred_at=event_received.occurred_at,
        )
    if facts:
        upsert = insert(ReportedFact)
        await session.execute(
            upsert.on_conflict_do_update(
                index_elements=["source", "kind", "core_id"],
                set_={name: upsert.excluded[name] for name in ("revision", "fingerprint")},
            ),
            facts,
        )


def _fact_id(customer: Customer, identity: Identity) -> UUID:
    """The same fact has the same id, whenever it comes and however often."""
    return derived_id(customer.customer_id, "/".join(identity))


def _contact(event: ContactRecorded, customer_id: UUID, fact_id: UUID) -> Event:
    return ContactReported(
        customer_id=customer_id,
        contact_id=fact_id,
        channel=event.channel,
        occurred_at=event.occurred_at,
        manager_id=event.manager_id,
        by_customer=event.by_customer,
    )


def _complaint(event: ComplaintRecorded, customer_id: UUID, fact_id: UUID) -> Event:
    return ComplaintReported(
        customer_id=customer_id,
        complaint_id=fact_id,
        revision=event.revision,
        opened_at=event.opened_at,
        resolved_at=event.resolved_at,
        outcome=event.outcome,
    )


def _survey(event: SurveyAnswered, customer_id: UUID, fact_id: UUID) -> Event:
    return SurveyReported(customer_id=customer_id, survey_id=fact_id, answered_at=event.answered_at, score=event.score)


def _life_event(event: LifeEventRecorded, customer_id: UUID, fact_id: UUID) -> Event:
    return LifeEventReported(
        customer_id=customer_id, life_event_id=fact_id, kind=event.kind, happened_on=event.happened_on
    )


_TOLD: dict[type[CoreBankingEvent], Callable[[Any, UUID, UUID], Event]] = {
    ContactRecorded: _contact,
    ComplaintRecorded: _complaint,
    SurveyAnswered: _survey,
    LifeEventRecorded: _life_event,
}
