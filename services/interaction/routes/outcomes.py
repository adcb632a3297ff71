"""How managers' efforts to keep their customers ended."""

from typing import Annotated
from uuid import UUID

from fastapi import Path, Request, Response

from services.interaction.errors import AlertNotFound, CustomerNotFound, OutcomeAlreadyRecorded, OutcomeNotFound
from services.interaction.schemas import OutcomeCreate, OutcomeRead
from services.interaction.use_cases import outcomes
from shared.auth.dependencies import Actor, members_of_staff
from shared.web.etag import ReadTag
from shared.web.parameters import CustomerId
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

router = service_router(tag="outcomes", dependencies=[members_of_staff])


@router.post(
    "/customers/{customer_id}/outcomes",
    status_code=201,
    responses=problems(CustomerNotFound, AlertNotFound, OutcomeAlreadyRecorded),
)
async def record_outcome(
    customer_id: CustomerId, body: OutcomeCreate, request: Request, response: Response, session: Session, actor: Actor
) -> OutcomeRead:
    """Records how the effort to keep a customer ended, once for each alert; an open alert closes with it.

    An alert that has closed by itself meanwhile, because the risk fell or the customer left, still takes its
    outcome: it is how we learn what the effort was worth.
    """
    outcome = await outcomes.record_outcome(session, actor, customer_id, body, now=request.app.state.clock())
    response.headers["Location"] = request.app.url_path_for("read_outcome", outcome_id=str(outcome.outcome_id))
    return OutcomeRead.model_validate(outcome)


@router.get("/outcomes/{outcome_id}", responses=problems(OutcomeNotFound))
async def read_outcome(
    outcome_id: Annotated[UUID, Path(description="The outcome's `outcome_id`.")], session: Session, tag: ReadTag
) -> OutcomeRead:
    """One retention outcome."""
    outcome = await outcomes.get_outcome(session, outcome_id)
    tag.show(outcome.recorded_at)
    return OutcomeRead.model_validate(outcome)
