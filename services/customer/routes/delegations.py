"""Portfolios in other hands for a time."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from services.customer.errors import CustomerNotFound, DelegationNotFound, UnknownDelegate, UnknownManager
from services.customer.schemas import DelegationCreate, DelegationRead
from services.customer.settings import CustomerSettings
from services.customer.use_cases import delegations
from shared.auth.dependencies import Actor, members_of_staff
from shared.scope import delegation
from shared.web.etag import ReadTag
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.problems import problems
from shared.web.transaction import Session, service_router

orderings = Ordering({"ends_at": delegation.c.ends_at}, default="-ends_at", tie=delegation.c.delegation_id)
DelegationId = Annotated[UUID, Path(description="The delegation's `delegation_id`.")]


def delegations_router(settings: CustomerSettings) -> APIRouter:
    router = service_router(tag="delegations", dependencies=[members_of_staff])

    @router.get("/delegations")
    async def list_delegations(
        request: Request,
        session: Session,
        page: Annotated[PageRequest, Depends(orderings)],
        is_over: Annotated[bool | None, Query(description="Whether they have ended.")] = None,
    ) -> Page[DelegationRead]:
        """Delegations that you made or were given; a branch head's are those of their branch."""
        query = delegations.delegations(now=request.app.state.clock(), is_over=is_over)
        return await page.of(session, query, DelegationRead.model_validate)

    @router.post("/delegations", status_code=201, responses=problems(UnknownManager, UnknownDelegate, CustomerNotFound))
    async def delegate_portfolio(
        body: DelegationCreate, request: Request, response: Response, session: Session, actor: Actor
    ) -> DelegationRead:
        """Lets a colleague see a manager's customers, or some of them, until a set time, and be told of their alerts.

        A manager delegates their own to a colleague of the same branch; a branch head those of any manager of their
        branch to anybody in it. In the other services it holds as soon as they have heard of it.
        """
        now = request.app.state.clock()
        made = await delegations.delegate_portfolio(session, actor, body, now=now, settings=settings)
        response.headers["Location"] = request.app.url_path_for(
            "read_delegation", delegation_id=str(made.delegation_id)
        )
        return DelegationRead.model_validate(made)

    @router.get("/delegations/{delegation_id}", responses=problems(DelegationNotFound))
    async def read_delegation(delegation_id: DelegationId, session: Session, tag: ReadTag) -> DelegationRead:
        """One delegation."""
        found = await delegations.get_delegation(session, delegation_id)
        tag.show(found.revision)
        return DelegationRead.model_validate(found)

    @router.post("/delegations/{delegation_id}/end", responses=problems(DelegationNotFound))
    async def end_delegation(delegation_id: DelegationId, request: Request, session: Session) -> DelegationRead:
        """Ends it now, before its time. Doing it again changes nothing; the delegate cannot do it."""
        ended = await delegations.end_delegation(session, delegation_id, now=request.app.state.clock())
        return DelegationRead.model_validate(ended)

    return router
