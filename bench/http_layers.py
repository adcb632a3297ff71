"""One read, GET /customers/{id}, with one layer more each time: bare, authenticated, under row-level security, audited.

The application, its middleware, the endpoint, the statement and the answer are the same in all of them; the last is the
customer service's own route as it is installed.
"""

from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.routes.customers import read_customer
from shared.audit.writer import AuditWriter
from shared.auth.dependencies import authenticate
from shared.auth.principal import Principal
from shared.auth.tokens import TokenVerifier
from shared.database import Database
from shared.sealing.data_keys import DATA_KEYS
from shared.settings import PlatformSettings
from shared.web.addresses import limited_as
from shared.web.app import create_api
from shared.web.transaction import TransactionalRoute, open_session

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Layer(StrEnum):
    BARE = "bare"
    """A transaction of the tables' owner, and nobody is asked who they are."""
    AUTH = "auth"
    """With the token verified, and the limits of its address and subject."""
    RLS = "rls"
    """As the requests' role, which sees what the token may see."""
    AUDIT = "audit"
    """All of it: the answer waits until its row is in the audit."""


async def _authenticated(request: Request) -> Principal:
    assert request.client is not None
    request.app.state.address_limiter.take(limited_as(request.client.host))
    actor = await authenticate(request)
    request.state.headers = request.app.state.limiter.take(actor.subject)
    return actor


class _BareRoute(TransactionalRoute):
    """A transaction around the endpoint."""

    def get_route_handler(self) -> Handler:
        endpoint = APIRoute.get_route_handler(self)

        async def handle(request: Request) -> Response:
            return await self.answer(request, endpoint)

        return handle

    async def answer(self, request: Request, endpoint: Handler) -> Response:
        database: Database = request.app.state.database
        info = {DATA_KEYS: database.data_keys}
        async with AsyncSession(database.jobs, expire_on_commit=False, info=info) as session:
            request.state.session = session
            response = await endpoint(request)
            await session.commit()
        return response


class _AuthenticatedRoute(_BareRoute):
    async def answer(self, request: Request, endpoint: Handler) -> Response:
        await _authenticated(request)
        return await super().answer(request, endpoint)


class _ScopedRoute(_BareRoute):
    async def answer(self, request: Request, endpoint: Handler) -> Response:
        state = request.app.state
        actor = await _authenticated(request)
        seconds = state.settings.request_timeout_seconds
        database: Database = state.database
        async with open_session(database.requests, actor, seconds, state.clock, database.data_keys) as session:
            request.state.session = session
            response = await endpoint(request)
            await session.commit()
        return response


_ROUTES: dict[Layer, type[TransactionalRoute]] = {
    Layer.BARE: _BareRoute,
    Layer.AUTH: _AuthenticatedRoute,
    Layer.RLS: _ScopedRoute,
    Layer.AUDIT: TransactionalRoute,
}


def layered_app(
    layer: Layer, settings: PlatformSettings, database: Database, verifier: TokenVerifier, audit: AuditWriter
) -> FastAPI:
    router = APIRouter(route_class=_ROUTES[layer], tags=["customers"])
    router.get("/customers/{customer_id}")(read_customer)
    return create_api(
        service_name="customer",
        title="Branchline, a read",
        version="1",
        routers=[router],
        settings=settings,
        database=database,
        verifier=verifier,
        audit=audit,
    )
