"""The route class of every operation: who asks, may they go on, then one transaction around the endpoint.

The transaction opens with the endpoint's first statement and commits when the answer is built and before it is sent,
so that nobody reads of a success that did not happen. An answer of 400 or more, or an exception, rolls back.
Row-level security sees the principal as transaction-local settings, '' for what their token does not say.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.orm import SessionTransaction

from shared.audit.records import customers_of_keys
from shared.audit.unattended import reached_in
from shared.auth.dependencies import authenticate
from shared.auth.principal import Principal
from shared.clock import Clock, system_clock
from shared.database import Database
from shared.messaging.outbox import pending_keys, write_outbox
from shared.sealing.data_keys import DATA_KEYS, DataKeys
from shared.web.addresses import limited_as
from shared.web.auditing import READS, AuditUnavailable, RequestAudit
from shared.web.etag import NotModified, seen_tag
from shared.web.idempotency import HEADER, answer_once
from shared.web.limits import time_limit
from shared.web.problems import problem_of, refuse_method_of_literal_path
from shared.web.reading import (
    StrictRequest,
    refuse_other_than_json,
    refuse_unkeepable_address,
    refuse_unknown_parameters,
)

TIMEOUT = "x-timeout-seconds"
"""In a route's `openapi_extra`: the time that it may take, where the setting does not do."""


_SETTINGS = (
    "select set_config('branchline.role', %(role)s, true), set_config('branchline.staff_id', %(staff_id)s, true),"
    " set_config('branchline.branch_id', %(branch_id)s, true), set_config('branchline.now', %(now)s, true),"
    " set_config('statement_timeout', %(timeout)s, true)"
)


class _ScopedSession(SyncSession):
    """A session whose transactions begin by telling the database for whom."""


@event.listens_for(_ScopedSession, "after_begin")
def _tell_for_whom(session: SyncSession, _: SessionTransaction, connection: Connection) -> None:
    connection.exec_driver_sql(_SETTINGS, {**session.info["settings"], "now": session.info["clock"]().isoformat()})


def open_session(
    engine: AsyncEngine,
    actor: Principal,
    timeout_seconds: float,
    clock: Clock = system_clock,
    data_keys: DataKeys | None = None,
) -> AsyncSession:
    """A session that sees what `actor` may see; whoever opens it commits, or closes it and so rolls back."""
    settings = {
        "role": actor.role,
        "staff_id": actor.staff_id or "",
        "branch_id": actor.branch_id or "",
        "timeout": str(int(timeout_seconds * 1000)),
    }
    info = {"settings": settings, "clock": clock, DATA_KEYS: data_keys}
    return AsyncSession(engine, expire_on_commit=False, sync_session_class=_ScopedSession, info=info)


async def _session(request: Request) -> AsyncSession:
    session: AsyncSession = request.state.session
    return session


async def _job_session(request: Request) -> AsyncSession:
    return await _session(request)


async def _sessions(request: Request) -> Callable[[], AsyncSession]:
    state = request.app.state
    database: Database = state.database
    timeout = state.settings.request_timeout_seconds
    return partial(open_session, database.requests, request.state.actor, timeout, state.clock, database.data_keys)


Session = Annotated[AsyncSession, Depends(_session)]
"""The request's transaction, under row-level security. The route commits it; nobody else does."""
JobSession = Annotated[AsyncSession, Depends(_job_session)]
"""The request's transaction as the tables' owner, who sees all: for ingestion, never for a person's request."""
Sessions = Annotated[Callable[[], AbstractAsyncContextManager[AsyncSession]], Depends(_sessions)]
"""Opens short reading transactions under row-level security: for streams, which hold none open."""


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any] | None]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)


class TransactionalRoute(APIRoute):
    """Authenticates, limits, reads strictly, keeps Idempotency-Keys, records who reached whose record, commits."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        calls = set(_calls(self.dependant))
        self.role = "jobs" if _job_session in calls else "requests" if _session in calls else None
        self.creates = self.methods == {"POST"} and self.status_code in (201, 202)
        self.takes_json = self.body_field is not None and not isinstance(self.body_field.field_info, params.Form)
        self.reads = self.methods == {"GET"} or bool((self.openapi_extra or {}).get(READS))
        self.known_parameters = frozenset(
            field.alias for field in get_flat_params(self.dependant) if isinstance(field.field_info, params.Query)
        )
        self.timeout_seconds: float | None = (self.openapi_extra or {}).get(TIMEOUT)
        if {_session, _job_session} <= calls:
            raise TypeError(f"{self.name}: one transaction, Session or JobSession")
        if {"PUT", "PATCH", "DELETE"} & (self.methods or set()) and seen_tag not in calls:
            raise TypeError(f"{self.name}: what changes asks for a SeenTag, the reader's If-Match")
        if self.creates and self.role is None:
            raise TypeError(f"{self.name}: what creates has a Session, which Idempotency-Key needs")
        if self.role and (inspect.isasyncgenfunction(endpoint) or inspect.isgeneratorfunction(endpoint)):
            raise TypeError(f"{self.name}: a stream holds no transaction open; ask for Sessions")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = super().get_route_handler()

        async def handle(request: Request) -> Response:
            state = request.app.state
            refuse_method_of_literal_path(request)
            strict = StrictRequest(request.scope, request.receive, request._send)
            async with time_limit(self.timeout_seconds or state.settings.request_timeout_seconds) as limit:
                if strict.client is not None:  # before anything is verified: that is work too
                    state.address_limiter.take(limited_as(strict.client.host))
                actor = await authenticate(strict)
                strict.state.headers = state.limiter.take(actor.subject)
                if state.audit is None:
                    raise AuditUnavailable
                audit = RequestAudit(state.audit, strict, actor, operation=self.name, reads=self.reads)
                try:
                    refuse_unkeepable_address(strict)
                    refuse_unknown_parameters(strict, self.known_parameters)
                    audit.read_purpose(state.settings.purpose_required_of)
                    if self.takes_json:
                        refuse_other_than_json(strict)
                    if self.role is None:
                        response = await endpoint(strict)
                    else:
                        response = await self._transact(strict, actor, endpoint, limit, audit)
                except AuditUnavailable:
                    raise
                except Exception as exception:
                    await audit.refused(_status_of(exception))
                    raise
                if response.status_code >= 400:
                    await audit.refused(response.status_code)
                elif self.reads or self.role is None:
                    return await audit.shown(response)
                return response

        return handle

    async def _transact(
        self,
        request: Request,
        actor: Principal,
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]],
        limit: asyncio.Timeout,
        audit: RequestAudit,
    ) -> Response:
        database: Database = request.app.state.database
        engine = database.jobs if self.role == "jobs" else database.requests
        timeout = self.timeout_seconds or request.app.state.settings.request_timeout_seconds
        async with open_session(engine, actor, timeout, request.app.state.clock, database.data_keys) as session:
            request.state.session = session
            if self.creates and HEADER in request.headers:
                now = request.app.state.clock()
                response = await answer_once(request, session, actor.subject, now, endpoint)
            else:
                response = await endpoint(request)
            if response.status_code < 400:
                changed = customers_of_keys(pending_keys(session))
                audit.subjects.add(*reached_in(session).ids)
                wrote = await write_outbox(session)
                if self.reads:
                    await session.commit()
                else:
                    await session.flush()
                    undone = await audit.changed(response, changed)
                    # A commit that was given up half-way may have happened.
                    limit.reschedule(None)
                    try:
                        await session.commit()
                    except BaseException:
                        audit.recorder.submit(undone)
                        raise
                if wrote:
                    database.outbox_written.set()
        return response


def _status_of(exception: Exception) -> int:
    if isinstance(exception, NotModified):
        return 304
    problem = problem_of(exception)
    return problem.status if problem else 500


def service_router(*, tag: str, dependencies: Sequence[params.Depends] = ()) -> APIRouter:
    """The router of one noun; `dependencies` say who may ask for any of its operations."""
    return APIRouter(route_class=TransactionalRoute, tags=[tag], dependencies=dependencies)
