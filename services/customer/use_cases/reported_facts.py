"""What other systems of the bank report about a customer: conversations, complaints, surveys, life events."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.parties import find_customers
from services.customer.use_cases.receiving import Arrived, newest_revisions
from services.customer.use_cases.rows import ANY_ID, as_json, upsert
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
Identity = tuple[str, str]
"""(kind, the bank's id), within a source"""


class _Fact(msgspec.Struct):
    source: str
    core_id: str
    kind: str
    customer_id: UUID
    revision: int
    fingerprint: int


_KNOWN = text(
    "select kind, core_id, revision, fingerprint, customer_id from reported_fact"  # noqa: S608 - no value is in it
    f" where source = :source and core_id {ANY_ID}"
)
_WRITE = upsert("reported_fact", ["source", "core_id", "kind"], _Fact.__struct_fields__)


def _identity(event: Reported) -> Identity:
    kind = _KINDS[type(event)]
    return kind, getattr(event, f"{kind}_id")


def _revision(event: Reported) -> int:
    return event.revision if isinstance(event, ComplaintRecorded) else 0


async def report_facts(session: AsyncSession, arrived: Arrived) -> None:
    """Tells each fact once. A complaint has revisions; the others never change."""
    reported = arrived.of(*REPORTED)
    if not reported:
        return
    customers = await find_customers(session, arrived.source, {event.party_id for _, event in reported})
    for received, event in reported:
        if event.party_id not in customers:
            received.hold("party", event.party_id, "/data/party_id")
    reported = arrived.of(*REPORTED)
    wanted = as_json({_identity(event)[1] for _, event in reported})
    rows = (await session.execute(_KNOWN, {"source": arrived.source, "ids": wanted})).all()
    told = {(row.kind, row.core_id): row.customer_id for row in rows}
    for received, event in reported:
        if told.setdefault(_identity(event), customers[event.party_id]) != customers[event.party_id]:
            received.park("party_mismatch", "/data/party_id", "it was reported of another party")
    known = {(row.kind, row.core_id): (row.revision, row.fingerprint) for row in rows}
    newest = newest_revisions(arrived.of(*REPORTED), known, _identity, _revision)
    facts = []
    for (kind, core_id), (received, event) in newest.items():
        customer_id = customers[event.party_id]
        facts.append(_Fact(arrived.source, core_id, kind, customer_id, _revision(event), received.fingerprint))
        # The same fact has the same id, whenever it comes and however often.
        fact_id = derived_id(customer_id, f"{arrived.source}/{kind}/{core_id}")
        publish(session, _TOLD[type(event)](event, customer_id, fact_id), occurred_at=received.occurred_at)
    if facts:
        await session.execute(_WRITE, {"rows": as_json(facts)})


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
