"""Dead letters over HTTP, for operators. Lists tell what they are and why; only who opens one sees what it holds."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from sqlalchemy import Row, func, select

from shared.auth.dependencies import Actor, require_role
from shared.auth.principal import Principal, Role
from shared.messaging.editing import Change, NotJson, PayloadGone, edit, open_edits
from shared.messaging.letters import LetterFilter
from shared.messaging.replay import NoSuchLetter, open_payload, replay
from shared.messaging.subscriptions import Subscriptions
from shared.messaging.tables import dead_letter, dead_letter_edit
from shared.web.dead_letter_bodies import (
    DeadLetterCount,
    DeadLetterRead,
    DeadLetterShown,
    DeadLetterSummary,
    DeadLettersUpdate,
    DeadLetterUpdate,
    EditRead,
    EditsRead,
    RecordRead,
    ReplayOutcome,
    ReplayRead,
    ReplaysRead,
)
from shared.web.etag import ReadTag, SeenTag
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.problems import problems
from shared.web.reading import WrittenInstant
from shared.web.refusals import InvalidInput, Problem
from shared.web.transaction import TIMEOUT, JobSession, service_router

REPLAY_SECONDS = 30.0
MOST_KINDS = 200


class DeadLetterNotFound(Problem):
    status, code, title = 404, "dead_letter_not_found", "No such dead letter, or it has been delivered"
    remedy = "List the dead letters."


class DeadLetterGone(Problem):
    status, code, title = 410, "dead_letter_gone", "What this dead letter held is gone: its customer was erased"
    remedy = "Nothing is left to mend or to deliver."


LetterId = Annotated[UUID, Path(description="As the list says it.")]


def _filter(
    code: Annotated[str | None, Query(max_length=200, description="Why.", examples=["handler_failed"])] = None,
    type: Annotated[
        str | None, Query(max_length=500, description="Of the event.", examples=["customer.transactions_posted.v1"])
    ] = None,  # noqa: A002, RUF100 - the field's name
    topic: Annotated[
        str | None, Query(max_length=250, description="Where it came from.", examples=["customer.transactions"])
    ] = None,
    parked_from: Annotated[
        WrittenInstant | None, Query(description="Parked then or later.", examples=["2026-11-24T00:00:00Z"])
    ] = None,
    parked_until: Annotated[
        WrittenInstant | None, Query(description="Parked before then.", examples=["2026-11-25T00:00:00Z"])
    ] = None,
) -> LetterFilter:
    return LetterFilter(code, type, topic, parked_from, parked_until)


Wanted = Annotated[LetterFilter, Depends(_filter)]

COLUMNS = [dead_letter.c[name] for name in DeadLetterRead.model_fields]

orderings = Ordering({"parked_at": dead_letter.c.parked_at}, default="-parked_at", tie=dead_letter.c.id)
oldest_first = Ordering({"parked_at": dead_letter.c.parked_at}, default="parked_at", tie=dead_letter.c.id)


def dead_letters_router(subscriptions: Subscriptions) -> APIRouter:
    """The operations of one service; `subscriptions` are what its consumer delivers to."""
    router = service_router(tag="dead letters")
    for_operators = [require_role(Role.OPERATOR)]

    @router.get("/dead-letters", dependencies=for_operators)
    async def list_dead_letters(
        session: JobSession, page: Annotated[PageRequest, Depends(orderings)], wanted: Wanted
    ) -> Page[DeadLetterRead]:
        """What could not be delivered to this service and waits for an operator."""
        return await page.of(session, select(*COLUMNS).where(*wanted.conditions), read)

    @router.get("/dead-letters/summary", dependencies=for_operators)
    async def summarize_dead_letters(session: JobSession, wanted: Wanted) -> DeadLetterSummary:
        """How many there are of each kind: what a replay or an edit by the same filter would take."""
        columns, count = dead_letter.c, func.count().label("count")
        since, until = func.min(columns.parked_at), func.max(columns.parked_at)
        kinds = (
            select(columns.code, columns.type, columns.topic, count, since.label("oldest_at"), until.label("newest_at"))
            .where(*wanted.conditions)
            .group_by(columns.code, columns.type, columns.topic)
            .order_by(count.desc(), columns.code, columns.type, columns.topic)
            .limit(MOST_KINDS)
        )
        total = await session.scalar(select(func.count()).select_from(dead_letter).where(*wanted.conditions))
        found = [DeadLetterCount(**row._asdict()) for row in await session.execute(kinds)]
        return DeadLetterSummary(total=total or 0, kinds=found)

    @router.get("/dead-letters/{letter_id}", dependencies=for_operators, responses=problems(DeadLetterNotFound))
    async def read_dead_letter(letter_id: LetterId, session: JobSession, tag: ReadTag) -> DeadLetterShown:
        """One dead letter: what it is, why it could not be delivered, and what it holds, which may be personal."""
        row = (await session.execute(select(dead_letter).where(dead_letter.c.id == letter_id))).one_or_none()
        if row is None:
            raise DeadLetterNotFound
        tag.show(_version(row))
        edits = dead_letter_edit.c
        of_letter = select(dead_letter_edit).where(edits.letter_id == letter_id).order_by(edits.edited_at, edits.id)
        history = (await session.execute(of_letter)).all()
        payload, before = await open_payload(session, row), await open_edits(session, history)
        return DeadLetterShown(
            **read(row).model_dump(),
            key=row.key.decode("utf-8", "replace") if row.key is not None else None,
            record=RecordRead.of(payload, row.headers, is_gone=payload is None and row.sealed is not None),
            history=[
                EditRead.of(
                    held,
                    edit.headers,
                    is_gone=held is None and edit.sealed is not None,
                    edited_at=edit.edited_at,
                    edited_by=edit.edited_by,
                )
                for edit, held in zip(history, before, strict=True)
            ],
        )

    @router.patch(
        "/dead-letters/{letter_id}",
        dependencies=for_operators,
        responses=problems(DeadLetterNotFound, DeadLetterGone),
    )
    async def edit_dead_letter(
        letter_id: LetterId, body: DeadLetterUpdate, session: JobSession, actor: Actor, request: Request, seen: SeenTag
    ) -> DeadLetterRead:
        """Changes what it holds, before it is replayed. What it held is kept, with who changed it and when."""
        payload = body.payload.encode() if body.payload is not None else None
        change = Change(payload, body.payload_patch, body.headers)

        def check(row: Row[Any]) -> None:
            seen.check(_version(row))

        now = request.app.state.clock()
        try:
            await edit(session, letter_id, change, by=_name(actor), now=now, check=check)
        except NoSuchLetter:
            raise DeadLetterNotFound from None
        except PayloadGone:
            raise DeadLetterGone from None
        except NotJson as fault:
            raise InvalidInput.at("/payload", "not_json", str(fault)) from None
        row = (await session.execute(select(*COLUMNS).where(dead_letter.c.id == letter_id))).one()
        seen.show(_version(row))
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

    @router.post("/dead-letters/replay", dependencies=for_operators, openapi_extra={TIMEOUT: REPLAY_SECONDS})
    async def replay_dead_letters(
        session: JobSession, page: Annotated[PageRequest, Depends(oldest_first)], wanted: Wanted, request: Request
    ) -> ReplaysRead:
        """Delivers up to `limit` of those that the filter finds, as if they came now; without a filter, of all.

        One that fails again stays with its new reason and stops no other. Those that somebody else is replaying are
        passed by. Doing it again does no harm.
        """
        found = await page.of(session, _locked(wanted), read)
        now = request.app.state.clock()
        again = [each.id for each in found.items if not await replay(session, subscriptions, each.id, now)]
        rows = await session.execute(
            select(*COLUMNS).where(dead_letter.c.id.in_(again)).order_by(dead_letter.c.parked_at, dead_letter.c.id)
        )
        return ReplaysRead(delivered=len(found.items) - len(again), parked=[read(row) for row in rows], next=found.next)

    @router.post("/dead-letters/edit", dependencies=for_operators, openapi_extra={TIMEOUT: REPLAY_SECONDS})
    async def edit_dead_letters(
        body: DeadLettersUpdate,
        session: JobSession,
        actor: Actor,
        page: Annotated[PageRequest, Depends(oldest_first)],
        wanted: Wanted,
        request: Request,
    ) -> EditsRead:
        """Changes up to `limit` of those that the filter finds; without a filter, of all. What they held is kept.

        Doing it again changes nothing more.
        """
        change, now = Change(None, body.payload_patch, body.headers), request.app.state.clock()
        found = await page.of(session, _locked(wanted), read)
        edited, refused = 0, []
        for each in found.items:
            try:
                edited += await edit(session, each.id, change, by=_name(actor), now=now)
            except (NotJson, PayloadGone):
                refused.append(each.id)
        unchanged = len(found.items) - edited - len(refused)
        return EditsRead(edited=edited, unchanged=unchanged, refused=refused, next=found.next)

    return router


def _locked(wanted: LetterFilter) -> Any:
    return select(*COLUMNS).where(*wanted.conditions).with_for_update(skip_locked=True)


def _version(row: Row[Any]) -> int:
    """Either grows by one with every change, and both never at once."""
    return int(row.replays + row.edits)


def _name(actor: Principal) -> str:
    return actor.staff_id or actor.subject


def read(row: Any) -> DeadLetterRead:
    return DeadLetterRead(**{name: getattr(row, name) for name in DeadLetterRead.model_fields})
