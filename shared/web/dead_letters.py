"""Dead letters over HTTP, for operators: what they are and why, never what they hold."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import select

from shared.auth.dependencies import require_role
from shared.auth.principal import Role
from shared.messaging.replay import NoSuchLetter, replay
from shared.messaging.subscriptions import Subscriptions
from shared.messaging.tables import dead_letter
from shared.web.etag import ReadTag
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.problems import Problem, problems
from shared.web.transaction import TIMEOUT, JobSession, service_router

REPLAY_SECONDS = 30.0


class DeadLetterNotFound(Problem):
    status, code, title = 404, "dead_letter_not_found", "No such dead letter, or it has been delivered"
    remedy = "List the dead letters."


class DeadLetterRead(BaseModel):
    """An event that could not be delivered. What it holds is not told."""

    id: UUID
    code: str = Field(description="Why, for programs.", examples=["handler_failed"])
    detail: str = Field(description="Why, for people.", examples=["KeyError in aggregate_transactions, line 71"])
    type: str | None = Field(description="As the record states it.", examples=["customer.transactions_posted.v1"])
    event_id: str | None = Field(
        description="As the record states it.", examples=["0193a1c8-7d2e-7e3b-9a55-1f0c7a4e2b10"]
    )
    topic: str = Field(examples=["customer.transactions"])
    partition: int = Field(examples=[17])
    offset: int = Field(examples=[120_034])
    parked_at: datetime
    replays: int = Field(description="How often it was replayed in vain.", examples=[0])
    replayed_at: datetime | None = Field(description="When it was last replayed in vain.")


class ReplayOutcome(StrEnum):
    DELIVERED = "delivered"
    """It is no dead letter any more."""
    PARKED = "parked"
    """It failed again, and stays with its new reason."""


class ReplayRead(BaseModel):
    """What became of a dead letter that was replayed."""

    outcome: ReplayOutcome
    dead_letter: DeadLetterRead | None = Field(description="As it is now, if it failed again.")


LetterId = Annotated[UUID, Path(description="As the list says it.")]

COLUMNS = [dead_letter.c[name] for name in DeadLetterRead.model_fields]

orderings = Ordering({"parked_at": dead_letter.c.parked_at}, default="-parked_at", tie=dead_letter.c.id)


def dead_letters_router(subscriptions: Subscriptions) -> APIRouter:
    """The operations of one service; `subscriptions` are what its consumer delivers to."""
    router = service_router(tag="dead letters")
    for_operators = [require_role(Role.OPERATOR)]

    @router.get("/dead-letters", dependencies=for_operators)
    async def list_dead_letters(
        session: JobSession,
        page: Annotated[PageRequest, Depends(orderings)],
        code: Annotated[str | None, Query(max_length=200, description="Why.", examples=["handler_failed"])] = None,
        type: Annotated[
            str | None, Query(max_length=500, description="Of the event.", examples=["customer.transactions_posted.v1"])
        ] = None,  # noqa: A002, RUF100 - the field's name
    ) -> Page[DeadLetterRead]:
        """What could not be delivered to this service and waits for an operator."""
        query = select(*COLUMNS)
        for column, wanted in ((dead_letter.c.code, code), (dead_letter.c.type, type)):
            if wanted is not None:
                query = query.where(column == wanted)
        return await page.of(session, query, read)

    @router.get("/dead-letters/{letter_id}", dependencies=for_operators, responses=problems(DeadLetterNotFound))
    async def read_dead_letter(letter_id: LetterId, session: JobSession, tag: ReadTag) -> DeadLetterRead:
        """One dead letter: what it is and why it could not be delivered."""
        row = (await session.execute(select(*COLUMNS).where(dead_letter.c.id == letter_id))).one_or_none()
        if row is None:
            raise DeadLetterNotFound
        tag.show(row.replays)
        return read(row)

    @router.post(
        "/dead-letters/{letter_id}/replay",
        dependencies=for_operators,
        responses=problems(DeadLetterNotFound),
        openapi_extra={TIMEOUT: REPLAY_SECONDS},
    )
    async def replay_dead_letter(letter_id: LetterId, session: JobSession, request: Request) -> ReplayRead:
        """Delivers it as if it came now. Doing that twice has its effects once; one that is delivered is gone."""
        try:
            delivered = await replay(session, subscriptions, letter_id, request.app.state.clock())
        except NoSuchLetter:
            raise DeadLetterNotFound from None
        if delivered:
            return ReplayRead(outcome=ReplayOutcome.DELIVERED, dead_letter=None)
        row = (await session.execute(select(*COLUMNS).where(dead_letter.c.id == letter_id))).one()
        return ReplayRead(outcome=ReplayOutcome.PARKED, dead_letter=read(row))

    return router


def read(row: Any) -> DeadLetterRead:
    return DeadLetterRead(**row._asdict())
