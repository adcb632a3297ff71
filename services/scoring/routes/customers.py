"""Customers by risk: scores with their reasons, how they changed, and the daily aggregates that they follow from."""

from typing import Annotated

from fastapi import Depends, Query

from services.scoring.errors import CustomerNotScored
from services.scoring.models import Account, CustomerScore, DailyAggregate, ScoreChange
from services.scoring.schemas import (
    DailyAggregateRead,
    ScoreChangeRead,
    ScoreRead,
    daily_aggregate_read,
    score_change_read,
    score_read,
)
from services.scoring.use_cases import portfolio
from shared.auth.dependencies import members_of_staff
from shared.events.scoring import RiskBand
from shared.web.etag import ReadTag
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.parameters import CustomerId, OfBranch, OfManager
from shared.web.problems import problems
from shared.web.reading import WrittenDay
from shared.web.transaction import Session, service_router

router = service_router(tag="risk", dependencies=[members_of_staff])

by_risk = Ordering({"risk": CustomerScore.points}, default="-risk", tie=CustomerScore.customer_id)
by_day_scored = Ordering({"scored_on": ScoreChange.scored_on}, default="-scored_on", tie=ScoreChange.customer_id)
by_day_booked = Ordering({"booked_on": DailyAggregate.booked_on}, default="-booked_on", tie=Account.currency)


@router.get("/customers")
async def list_scores(
    session: Session,
    page: Annotated[PageRequest, Depends(by_risk)],
    band: Annotated[RiskBand | None, Query(description="Only in this band.")] = None,
    min_points: Annotated[int | None, Query(ge=0, le=100, description="With so many or more.", examples=[50])] = None,
    branch_id: OfBranch = None,
    manager_id: OfManager = None,
) -> Page[ScoreRead]:
    """The customers that you may see, by risk: your portfolio, your branch, or all; without those who have left."""
    query = portfolio.scores(band=band, min_points=min_points, branch_id=branch_id, manager_id=manager_id)
    return await page.of(session, query, score_read)


@router.get("/customers/{customer_id}/score", responses=problems(CustomerNotScored))
async def read_score(customer_id: CustomerId, session: Session, tag: ReadTag) -> ScoreRead:
    """A customer's score and its reasons, at the close of the last business day."""
    row = await portfolio.get_score(session, customer_id)
    closed_on = row.last_closed_on.toordinal() if row.last_closed_on else 0
    tag.show(row.CustomerScore.version << 24 | closed_on)
    return score_read(row)


@router.get("/customers/{customer_id}/scores", responses=problems(CustomerNotScored))
async def list_score_changes(
    customer_id: CustomerId, session: Session, page: Annotated[PageRequest, Depends(by_day_scored)]
) -> Page[ScoreChangeRead]:
    """How a customer's score came about: each day on which other reasons held than on the day before."""
    query = await portfolio.score_changes(session, customer_id)
    return await page.of(session, query, score_change_read)


@router.get("/customers/{customer_id}/daily-aggregates", responses=problems(CustomerNotScored))
async def list_daily_aggregates(
    customer_id: CustomerId,
    session: Session,
    page: Annotated[PageRequest, Depends(by_day_booked)],
    first: Annotated[WrittenDay | None, Query(alias="from", description="The first day.")] = None,
    last: Annotated[WrittenDay | None, Query(alias="to", description="The last day.")] = None,
) -> Page[DailyAggregateRead]:
    """What a customer's accounts did, by day and currency; days without transactions are left out."""
    query = await portfolio.daily_aggregates(session, customer_id, first, last)
    return await page.of(session, query, daily_aggregate_read)
