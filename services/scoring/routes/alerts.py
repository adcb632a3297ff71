"""Churn alerts."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query

from services.scoring.errors import AlertNotFound
from services.scoring.models import ChurnAlert
from services.scoring.schemas import AlertRead, AlertState, alert_read
from services.scoring.use_cases import portfolio
from shared.auth.dependencies import members_of_staff
from shared.web.etag import ReadTag
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.parameters import AlertId
from shared.web.problems import problems
from shared.web.reading import WrittenDay
from shared.web.transaction import Session, service_router

router = service_router(tag="alerts", dependencies=[members_of_staff])

orderings = Ordering(
    {"raised_on": ChurnAlert.raised_on, "points": ChurnAlert.points}, default="-raised_on", tie=ChurnAlert.alert_id
)


@router.get("/alerts")
async def list_alerts(
    session: Session,
    page: Annotated[PageRequest, Depends(orderings)],
    state: Annotated[AlertState | None, Query(description="Only in this state.")] = None,
    raised_since: Annotated[WrittenDay | None, Query(description="Raised on that day or later.")] = None,
    customer_id: Annotated[UUID | None, Query(description="Only of this customer.")] = None,
    is_historic: Annotated[bool | None, Query(description="Whether nobody was told.")] = None,
) -> Page[AlertRead]:
    """The alerts of the customers that you may see."""
    query = portfolio.alerts(
        is_open=None if state is None else state is AlertState.OPEN,
        raised_since=raised_since,
        customer_id=customer_id,
        is_historic=is_historic,
    )
    return await page.of(session, query, alert_read)


@router.get("/alerts/{alert_id}", responses=problems(AlertNotFound))
async def read_alert(alert_id: AlertId, session: Session, tag: ReadTag) -> AlertRead:
    """One alert, with what it was raised for and how it ended."""
    row = await portfolio.get_alert(session, alert_id)
    tag.show(row.ChurnAlert.version)
    return alert_read(row)
