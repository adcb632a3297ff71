"""What every answer carries, whatever gave it: a request id, its trace, security headers; and the last resort.

`Envelope` is the outermost layer of a service and writes the request log. `LastResort` is the innermost around the
routes: what nobody expected becomes a problem that tells nothing but the trace id.
"""

import re
import time

import structlog
from fastapi.routing import iter_route_contexts
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.ids import new_id
from shared.telemetry import HTTP_REQUESTS, HTTP_SECONDS, current_traceparent
from shared.web.problems import MEDIA_TYPE, render
from shared.web.refusals import BodyTooLarge, UnexpectedError

log = structlog.get_logger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=-]{1,100}")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NOT_LOGGED = frozenset({"/healthz", "/readyz", "/metrics"})

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
YEAR = 31_536_000


def route_templates(app: Starlette) -> dict[int, str]:
    """Each route's path as it is declared, by its endpoint's identity: logs and metrics name no customer."""
    return {
        id(getattr(context.original_route, "endpoint", None) or getattr(context.original_route, "app", None)): str(
            context.path_format
        )
        for context in iter_route_contexts(app.routes)
    }


class Envelope:
    def __init__(self, app: ASGIApp, *, service_name: str, https: bool) -> None:
        self.app = app
        self.service_name = service_name
        self.headers = dict(SECURITY_HEADERS)
        if https:
            self.headers["Strict-Transport-Security"] = f"max-age={YEAR}; includeSubDomains"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("x-request-id", "")
        request_id = stated if REQUEST_ID.fullmatch(stated) else str(new_id())
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0
        began = time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(MutableHeaders(scope=message), request_id, scope)
            await send(message)

        with structlog.contextvars.bound_contextvars(service=self.service_name, request_id=request_id):
            try:
                await self.app(scope, receive, send_with_headers)
            finally:
                self._record(scope, status, time.perf_counter() - began)

    def _add_headers(self, headers: MutableHeaders, request_id: str, scope: Scope) -> None:
        headers["X-Request-Id"] = request_id
        if traceparent := current_traceparent():
            headers["traceparent"] = traceparent
        for name, value in {**self.headers, **scope.get("state", {}).get("headers", {})}.items():
            headers.setdefault(name, value)
        # What is read of customers stays out of caches; what has a tag may be kept if it is asked about each time.
        headers.setdefault("Cache-Control", "private, no-cache" if "etag" in headers else "no-store")

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope["app"].state.route_templates.get(id(scope.get("endpoint")), "unmatched")
        method = scope["method"] if scope["method"] in METHODS else "other"
        HTTP_REQUESTS.labels(self.service_name, method, route, str(status)).inc()
        HTTP_SECONDS.labels(self.service_name, method, route).observe(seconds)
        if route in NOT_LOGGED:
            return
        actor = scope.get("state", {}).get("actor")
        log.info(
            "request",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            subject=actor.subject if actor else None,
        )


class LastResort:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = replaced = False

        async def send_problem_if_too_large(message: Message) -> None:
            nonlocal started, replaced
            if message["type"] == "http.response.start":
                started = True
                # Starlette's body limit answers in plain text.
                if message["status"] == 413 and Headers(raw=message["headers"]).get("content-type") != MEDIA_TYPE:
                    replaced = True
                    await render(scope["app"], BodyTooLarge())(scope, receive, send)
            if not replaced:
                await send(message)

        try:
            await self.app(scope, receive, send_problem_if_too_large)
        except Exception as exception:
            log.error("unexpected_error", exc_info=exception)
            if started:
                raise
            await render(scope["app"], UnexpectedError())(scope, receive, send)
