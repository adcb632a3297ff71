"""A small bank: core-banking events as a bank's systems push them."""

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

import msgspec

from shared.events.corebanking import (
    AccountKind,
    AccountRecorded,
    BranchRecorded,
    BusinessDayClosed,
    ComplaintOutcome,
    ComplaintRecorded,
    ContactChannel,
    ContactRecorded,
    CoreBankingEvent,
    LifeEventKind,
    LifeEventRecorded,
    ManagerRecorded,
    PartyRecorded,
    PartyRelation,
    RelatedParty,
    SurveyAnswered,
    TransactionKind,
    TransactionPosted,
)
from tests.harness import ServiceUnderTest, program

NDJSON = {"Content-Type": "application/x-ndjson"}


def branch(branch_id: str = "B1", revision: int = 1, **more: Any) -> BranchRecorded:
    return BranchRecorded(branch_id=branch_id, revision=revision, name=f"Branch {branch_id}", **more)


def manager_recorded(manager_id: str = "M1", branch_id: str = "B1", revision: int = 1, **more: Any) -> ManagerRecorded:
    return ManagerRecorded(
        manager_id=manager_id,
        revision=revision,
        branch_id=branch_id,
        name=f"Manager {manager_id}",
        email=f"{manager_id.lower()}@bank.example",
        **more,
    )


def party(party_id: str = "P1", revision: int = 1, branch_id: str = "B1", **more: Any) -> PartyRecorded:
    return PartyRecorded(
        party_id=party_id,
        revision=revision,
        branch_id=branch_id,
        **{
            "customer_number": f"1000{party_id[1:]:>04}",
            "name": f"Customer {party_id}",
            "manager_id": "M1",
            **more,
        },
    )


def account(account_id: str = "A1", holder: str = "P1", revision: int = 1, **more: Any) -> AccountRecorded:
    return AccountRecorded(
        account_id=account_id,
        revision=revision,
        parties=more.pop("parties", (RelatedParty(party_id=holder, relation=PartyRelation.HOLDER),)),
        **{"kind": AccountKind.CURRENT, "currency": "CNY", "opened_on": date(2026, 1, 1), **more},
    )


def posted(
    transaction_id: str, amount_minor: int, day: int = 1, account_id: str = "A1", **more: Any
) -> TransactionPosted:
    return TransactionPosted(
        account_id=account_id,
        transaction_id=transaction_id,
        booked_on=date(2026, 3, day),
        amount_minor=amount_minor,
        **{"currency": "CNY", "kind": TransactionKind.CARD_PAYMENT, **more},
    )


def contact(key: str, party_id: str, at: datetime, **more: Any) -> ContactRecorded:
    return ContactRecorded(
        contact_id=f"K{key}", party_id=party_id, occurred_at=at, **{"channel": ContactChannel.CALL, **more}
    )


def complaint_rejected(
    key: str, party_id: str, at: datetime, *, opened_at: datetime, revision: int = 1
) -> ComplaintRecorded:
    return ComplaintRecorded(
        complaint_id=f"C{key}",
        revision=revision,
        party_id=party_id,
        opened_at=opened_at,
        resolved_at=at,
        outcome=ComplaintOutcome.REJECTED,
    )


def worst_answer(key: str, party_id: str, at: datetime) -> SurveyAnswered:
    return SurveyAnswered(survey_id=f"S{key}", party_id=party_id, answered_at=at, score=1)


def death(key: str, party_id: str, day: date) -> LifeEventRecorded:
    return LifeEventRecorded(
        life_event_id=f"L{key}", party_id=party_id, kind=LifeEventKind.DEATH_IN_HOUSEHOLD, happened_on=day
    )


def day_closed(day: int) -> BusinessDayClosed:
    return BusinessDayClosed(business_date=date(2026, 3, day))


SMALL_BANK = (branch(), manager_recorded(), party(), account())


def lines(events: Iterable[CoreBankingEvent], *, ids: str = "e", source: str = "core") -> bytes:
    """The events as NDJSON of CloudEvents, `<ids>-1`, `<ids>-2`, …"""
    return b"\n".join(
        msgspec.json.encode(
            {
                "specversion": "1.0",
                "id": f"{ids}-{number}",
                "source": source,
                "type": event.TYPE,
                "time": "2026-03-01T09:00:00Z",
                "data": event,
            }
        )
        for number, event in enumerate(events, 1)
    )


async def push(
    customer: ServiceUnderTest, events: Iterable[CoreBankingEvent] | bytes, *, ids: str = "e"
) -> dict[str, Any]:
    """What the boundary answers to the events."""
    body = events if isinstance(events, bytes) else lines(events, ids=ids)
    async with customer.http(program("corebanking:write")) as http:
        answer = await http.post("/core-banking/events", content=body, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    summary: dict[str, Any] = answer.json()
    return summary
