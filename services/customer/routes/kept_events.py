"""Events of the core that are held or parked, for operators. Only who opens one sees what it holds."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from sqlalchemy import Text, cast, select
from sqlalchemy.exc import IntegrityError

from services.customer.errors import KeptEventGone, KeptEventNotFound, NotACloudEvent
from services.customer.models import KeptEvent
from services.customer.schemas import (
    KeptEventEditRead,
    KeptEventMend,
    KeptEventRead,
    KeptEventShown,
    KeptEventsReplayed,
    ReceiptRead,
)
from services.customer.use_cases import kept_events as keeping
from services.customer.use_cases.ingestion import Rules
from services.customer.use_cases.kept_bytes import open_events
from services.customer.use_cases.kept_events import KeptKey
from services.customer.use_cases.receiving import Outcome, Received
from shared.auth.dependencies import Actor, require_role
from shared.auth.principal import Role
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.problems import problems
from shared.web.refusals import TryAgain
from shared.web.transaction import TIMEOUT, JobSession, service_router

REPLAY_SECONDS = 30.0

KeptId = Annotated[str, Path(max_length=1_000, description="As the list says it.", examples=["WyJjb3JlIiwi"])]

COLUMNS = [column for column in KeptEvent.__table__.columns if column.name not in ("customer_id", "names", "sealed")]

_IDENTITY = KeptEvent.source + " " + KeptEvent.event_id + " " + cast(KeptEvent.fingerprint, Text)
orderings = Ordering({"kept_at": KeptEvent.kept_at}, default="-kept_at", tie=_IDENTITY)
oldest_first = Ordering({"kept_at": KeptEvent.kept_at}, default="kept_at", tie=_IDENTITY)


def _conditions(
    outcome: Annotated[
        Literal["parked", "held"], Query(description="Parked waits for somebody, held for what it names.")
    ] = "parked",
    code: Annotated[str | None, Query(max_length=200, description="Why.", examples=["malformed_event"])] = None,
    source: Annotated[str | None, Query(max_length=200, description="Who sent it.", examples=["core"])] = None,
) -> list[Any]:
    found: list[Any] = [KeptEvent.waits_for.is_(None) if outcome == "parked" else KeptEvent.waits_for.is_not(None)]
    found += [KeptEvent.code == code] if code is not None else []
    return found + ([KeptEvent.source == source] if source is not None else [])


Wanted = Annotated[list[Any], Depends(_conditions)]


def kept_events_router(rules: Rules) -> APIRouter:
    router = service_router(tag="core banking")
    for_operators = [require_role(Role.OPERATOR)]

    @router.get("/core-banking/kept-events", dependencies=for_operators)
    async def list_kept_events(
        session: JobSession, page: Annotated[PageRequest, Depends(orderings)], wanted: Wanted
    ) -> Page[KeptEventRead]:
        """The core's events that are parked or held, and why."""
        return await page.of(session, select(*COLUMNS).where(*wanted), read)

    @router.get(
        "/core-banking/kept-events/{kept_id}", dependencies=for_operators, responses=problems(KeptEventNotFound)
    )
    async def read_kept_event(kept_id: KeptId, session: JobSession) -> KeptEventShown:
        """One of them with what it holds, which is personal, and what it held before it was mended."""
        key = KeptKey.read(kept_id)
        kept = await keeping.get_kept_event(session, key)
        (payload,) = await open_events(session, [kept])
        edits = await keeping.get_edits(session, key)
        history = [
            KeptEventEditRead(cloud_event=_written(held), edited_at=edit.edited_at, edited_by=edit.edited_by)
            for edit, held in zip(edits, await keeping.open_history(session, edits), strict=True)
        ]
        return KeptEventShown(**read(kept).model_dump(), cloud_event=_written(payload), history=history)

    @router.post(
        "/core-banking/kept-events/{kept_id}/replay",
        dependencies=for_operators,
        responses=problems(KeptEventNotFound, KeptEventGone, NotACloudEvent),
        openapi_extra={TIMEOUT: REPLAY_SECONDS},
    )
    async def replay_kept_event(
        kept_id: KeptId, body: KeptEventMend, session: JobSession, actor: Actor, request: Request
    ) -> ReceiptRead:
        """Receives it again as if it came now, mended if `patch` says how. One that is applied is kept no more.

        What it held before is kept for 90 days, with who mended it. Doing it twice has its effects once.
        """
        key, now = KeptKey.read(kept_id), request.app.state.clock()
        by = actor.staff_id or actor.subject
        try:
            return _receipt(await keeping.mend_kept_event(session, key, body.patch, by=by, rules=rules, now=now))
        except IntegrityError:  # the same event came by another way at the same moment: next time it is known
            raise TryAgain(headers={"Retry-After": "1"}) from None

    @router.post(
        "/core-banking/kept-events/replay", dependencies=for_operators, openapi_extra={TIMEOUT: REPLAY_SECONDS}
    )
    async def replay_kept_events(
        session: JobSession, page: Annotated[PageRequest, Depends(oldest_first)], wanted: Wanted, request: Request
    ) -> KeptEventsReplayed:
        """Receives up to `limit` of those that the filter finds again, as they are. One still wrong stops no other."""
        found = await page.of(session, select(*COLUMNS).where(*wanted).with_for_update(skip_locked=True), read)
        keys = [KeptKey.read(each.kept_id) for each in found.items]
        try:
            received = await keeping.replay_kept_events(session, keys, rules=rules, now=request.app.state.clock())
        except IntegrityError:
            raise TryAgain(headers={"Retry-After": "1"}) from None
        settled = sum(each.outcome in (Outcome.APPLIED, Outcome.DUPLICATE) for each in received)
        return KeptEventsReplayed(settled=settled, kept=len(received) - settled, next=found.next)

    return router


def _written(payload: bytes | None) -> str | None:
    return payload.decode() if payload is not None else None


def read(kept: Any) -> KeptEventRead:
    return KeptEventRead(
        kept_id=KeptKey(kept.source, kept.event_id, kept.fingerprint).opaque,
        source=kept.source,
        id=kept.event_id,
        code=kept.code,
        pointer=kept.pointer,
        detail=kept.detail,
        waits_for=kept.waits_for,
        kept_at=kept.kept_at,
    )


def _receipt(received: Received) -> ReceiptRead:
    return ReceiptRead(
        source=received.source,
        id=received.event_id,
        outcome=received.outcome,
        code=received.code,
        pointer=received.pointer,
        detail=received.detail,
    )
