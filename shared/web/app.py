"""One call gives a service its plumbing: paths, tokens, limits, problems, documentation, health, telemetry."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Path
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic import BaseModel, Field
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from shared import telemetry
from shared.auth.dependencies import Actor
from shared.auth.principal import Role
from shared.auth.tokens import TokenVerifier
from shared.clock import Clock, system_clock
from shared.database import Database
from shared.settings import PlatformSettings
from shared.web import openapi
from shared.web.addresses import ClientAddress
from shared.web.auditing import HEADER as PURPOSE
from shared.web.auditing import Recorder
from shared.web.docs import install_docs
from shared.web.envelope import Envelope, LastResort, route_templates
from shared.web.etag import install_not_modified
from shared.web.health import Check, install_health
from shared.web.limits import RateLimiter
from shared.web.problems import ProblemType, install_problem_handlers, literal_paths, problem_types, problems
from shared.web.refusals import NotFound, Problem
from shared.web.transaction import TransactionalRoute

ALLOWED_HEADERS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"),
    *("Last-Event-ID", PURPOSE, "X-Request-Id", "traceparent"),
)
EXPOSED_HEADERS = (
    *("ETag", "Location", "Retry-After", "Idempotency-Replayed", "X-Request-Id", "traceparent"),
    *("RateLimit", "RateLimit-Policy", "WWW-Authenticate", "Deprecation", "Sunset"),
)


class MeRead(BaseModel):
    """Who the token says you are."""

    subject: str = Field(examples=["M0107"])
    role: Role
    staff_id: str | None = Field(examples=["M0107"])
    branch_id: str | None = Field(examples=["B01"])
    scopes: list[str] = Field(examples=[[]])


class ServiceApi(FastAPI):
    """A service's application; its OpenAPI document knows our conventions."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            openapi.complete(super().openapi(), self.routes, self.state.problem_types_url)
        return super().openapi()


def create_api(
    *,
    title: str,
    service_name: str,
    version: str,
    routers: Sequence[APIRouter],
    settings: PlatformSettings,
    description: str = "",
    database: Database | None = None,
    verifier: TokenVerifier | None = None,
    audit: Recorder | None = None,
    clock: Clock = system_clock,
    checks: Mapping[str, Check] | None = None,
    vital: Mapping[str, Check] | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    package: str | None = None,
) -> FastAPI:
    """A service under /api/<service_name>/v1, with health and metrics at the root.

    `checks` are further dependencies that /readyz looks at, `vital` what /healthz does. `lifespan` may set
    `app.state.database` and `app.state.verifier` itself. `package` is where the service's problems are declared,
    `services.<service_name>` unless it says otherwise. Without `audit` nothing that asks for a token is answered.
    Raises TypeError for a route that is none of `service_router`'s.
    """
    telemetry.configure(service_name, level=settings.log_level)
    base = f"/api/{service_name}/v1"
    app = ServiceApi(
        title=title,
        version=version,
        description=description,
        openapi_url=f"{base}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        telemetry={
            "tracer_provider": telemetry.tracer_provider(service_name),
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
        middleware=[
            Middleware(ClientAddress, trusted=settings.trusted_networks),
            Middleware(Envelope, service_name=service_name, https=settings.public_url.startswith("https:")),
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=ALLOWED_HEADERS,
                expose_headers=EXPOSED_HEADERS,
                max_age=600,
            ),
            Middleware(LastResort),
        ],
    )
    app.state.service_name = service_name
    app.state.settings = settings
    app.state.clock = clock
    app.state.database = database
    app.state.verifier = verifier
    app.state.audit = audit
    app.state.limiter = RateLimiter(settings.rate_limit_per_second, settings.rate_limit_burst)
    app.state.address_limiter = RateLimiter(
        settings.address_limit_per_second, settings.address_limit_burst, of="address"
    )
    app.state.stopping = asyncio.Event()
    app.state.problem_types_url = f"{settings.public_url}{base}/problems"
    install_problem_handlers(app)
    install_not_modified(app)
    install_health(app, checks or {}, vital or {})
    install_docs(app, base)
    for router in [_me(), *routers, _about(app, package or f"services.{service_name}")]:
        app.include_router(router, prefix=base, max_body_size=settings.body_limit_bytes)
    _check_routes(app, public={f"{base}/problems", f"{base}/problems/{{code}}"})
    app.state.route_templates = route_templates(app)
    app.state.literal_paths = literal_paths(app)
    return app


def _me() -> APIRouter:
    router = APIRouter(route_class=TransactionalRoute, tags=["me"])

    @router.get("/me")
    async def read_me(actor: Actor) -> MeRead:
        """Who the token says you are, and so what you may see."""
        return MeRead(
            subject=actor.subject,
            role=actor.role,
            staff_id=actor.staff_id,
            branch_id=actor.branch_id,
            scopes=sorted(actor.scopes),
        )

    return router


def _about(app: FastAPI, package: str) -> APIRouter:
    router = APIRouter(tags=["problems"])

    def describe(problem: type[Problem]) -> ProblemType:
        return ProblemType(
            type=f"{app.state.problem_types_url}/{problem.code}",
            code=problem.code,
            title=problem.title,
            status=problem.status,
            remedy=problem.remedy,
        )

    @router.get("/problems")
    async def list_problems() -> list[ProblemType]:
        """Every problem that this service answers with."""
        return [describe(problem) for problem in problem_types(package).values()]

    @router.get("/problems/{code}", responses=problems(NotFound))
    async def read_problem(
        code: Annotated[str, Path(description="The problem's `code`.", examples=["not_found"])],
    ) -> ProblemType:
        """What a problem means and what to do about it: what its `type` points to."""
        problem = problem_types(package).get(code)
        if problem is None:
            raise NotFound
        return describe(problem)

    return router


def _check_routes(app: FastAPI, public: set[str]) -> None:
    routes = [context for context in iter_route_contexts(app.routes) if isinstance(context.original_route, APIRoute)]
    for route in routes:
        if not isinstance(route.original_route, TransactionalRoute) and route.path_format not in public:
            raise TypeError(f"{route.path_format} would ask nobody for a token: make its router with service_router")
    for name, count in Counter(route.name for route in routes).items():
        if count > 1:
            raise TypeError(f"{count} operations are called {name}; an operation's id is its function's name")
