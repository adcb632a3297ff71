"""What is known around one customer, and which customers wait for a contact."""

from typing import Annotated, Any

from fastapi import Depends, Query, Request

from services.interaction.domain.timeline import EntryKind, references, summarise
from services.interaction.errors import CustomerNotFound
from services.interaction.models import Complaint, Coverage, TimelineEntry
from services.interaction.schemas import ComplaintRead, NotContactedRead, TimelineEntryRead
from services.interaction.use_cases import complaints, coverage, timeline
from shared.auth.dependencies import members_of_staff
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.parameters import CustomerId
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

router = service_router(tag="customers", dependencies=[members_of_staff])

timeline_orderings = Ordering(
    {"occurred_at": TimelineEntry.occurred_at}, default="-occurred_at", tie=TimelineEntry.entry_id
)
complaint_orderings = Ordering({"opened_at": Complaint.opened_at}, default="-opened_at", tie=Complaint.complaint_id)
waiting_orderings = Ordering(
    {"last_contacted_at": Coverage.waiting_since}, default="last_contacted_at", tie=Coverage.customer_id
)


@router.get("/customers/not-contacted")
async def list_customers_not_contacted(
    request: Request,
    session: Session,
    page: Annotated[PageRequest, Depends(waiting_orderings)],
    days: Annotated[int, Query(ge=0, le=36_500, description="For so many days.", examples=[90])],
) -> Page[NotContactedRead]:
    """Your customers with whom there was no contact for so many days; by default those who wait longest first.

    A contact is any conversation, whoever began it. A customer with whom none is known is always among them, and
    before all others. Who has left the bank is not.
    """
    query = coverage.not_contacted(days=days, now=request.app.state.clock())
    return await page.of(session, query, _not_contacted)


def _not_contacted(row: Any) -> NotContactedRead:
    return NotContactedRead(
        customer_id=row.Coverage.customer_id,
        customer_number=row.customer_number,
        branch_id=row.branch_id,
        manager_id=row.manager_id,
        last_contacted_at=row.Coverage.last_contacted_at,
    )


@router.get("/customers/{customer_id}/timeline", responses=problems(CustomerNotFound))
async def list_timeline(
    customer_id: CustomerId,
    session: Session,
    page: Annotated[PageRequest, Depends(timeline_orderings)],
    kind: Annotated[
        list[EntryKind], Query(max_length=len(EntryKind), description="Only these kinds; all when none is named.")
    ] = [],  # noqa: B006 - FastAPI's way to say "none named"; nobody changes it
) -> Page[TimelineEntryRead]:
    """What happened around a customer: contacts, complaints, surveys, accounts, alerts and what became of them."""
    await coverage.check_customer(session, customer_id)
    return await page.of(session, timeline.timeline(customer_id, kind), _entry)


def _entry(entry: TimelineEntry) -> TimelineEntryRead:
    kind = EntryKind(entry.kind)
    return TimelineEntryRead(
        entry_id=entry.entry_id,
        kind=kind,
        occurred_at=entry.occurred_at,
        summary=summarise(kind, entry.facts),
        references=references(kind, entry.subject_id, entry.alert_id),
    )


@router.get("/customers/{customer_id}/complaints", responses=problems(CustomerNotFound))
async def list_complaints(
    customer_id: CustomerId,
    session: Session,
    page: Annotated[PageRequest, Depends(complaint_orderings)],
    is_open: Annotated[bool | None, Query(description="Whether they wait for an answer.")] = None,
) -> Page[ComplaintRead]:
    """A customer's complaints."""
    await coverage.check_customer(session, customer_id)
    query = complaints.complaints_of_customer(customer_id, is_open=is_open)
    return await page.of(session, query, ComplaintRead.model_validate)
