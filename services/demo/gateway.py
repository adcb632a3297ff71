"""What stands in front of the four services in one process, as Caddy does in front of containers."""

from collections.abc import Mapping
from html import escape

import httpx
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.service import Service


class Gateway:
    """`/api/<service>/…` to its service, with the path as it is; everything else to `pages`."""

    def __init__(self, apps: Mapping[str, ASGIApp], pages: ASGIApp) -> None:
        self._apps = apps
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root, _, rest = scope.get("path", "").lstrip("/").partition("/")
        app = self._apps.get(rest.partition("/")[0]) if root == "api" else None
        await (app or self._pages)(scope, receive, send)


def create_gateway(
    services: Mapping[str, Service], apps: Mapping[str, FastAPI], issuer: ASGIApp, mails: ASGIApp
) -> ASGIApp:
    """`/api/<service>`, `/docs`, the demo's tokens below `/demo` and its mails below `/demo/mails`."""

    async def home(_: Request) -> Response:
        return RedirectResponse("/docs")

    async def mail_list(_: Request) -> Response:
        return RedirectResponse("/demo/mails/")

    async def docs(_: Request) -> Response:
        return HTMLResponse(_docs_page(services))

    async def health(request: Request) -> Response:
        """The services' own answers, and the worst of their statuses."""
        answers = {name: await _ask(app, request.url.path) for name, app in apps.items()}
        return JSONResponse(
            {name: answer.json() for name, answer in answers.items()},
            status_code=max(answer.status_code for answer in answers.values()),
        )

    async def metrics(request: Request) -> Response:
        """One process has one registry: any service tells of all."""
        answer = await _ask(next(iter(apps.values())), request.url.path)
        return Response(answer.content, headers={"Content-Type": answer.headers["content-type"]})

    pages = Starlette(
        routes=[
            Route("/", home),
            Route("/docs", docs),
            Route("/healthz", health),
            Route("/readyz", health),
            Route("/metrics", metrics),
            Route("/demo/mails", mail_list),
            Mount("/demo/mails", mails),
            Mount("/demo", issuer),
        ],
        exception_handlers={404: _nothing_here},
    )
    return Gateway(apps, pages)


async def _ask(app: ASGIApp, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service.invalid") as client:
        return await client.get(path)


async def _nothing_here(_: Request, __: Exception) -> Response:
    detail = "There is nothing here; /docs lists what there is."
    body = {"type": "about:blank", "title": "Not found", "status": 404, "detail": detail, "code": "not_found"}
    return JSONResponse(body, 404, media_type="application/problem+json")


def _docs_page(services: Mapping[str, Service]) -> str:
    rows = "".join(
        f'<li><a href="/api/{name}/v1/docs">{escape(service.title)}</a><br>{escape(service.description)}</li>'
        for name, service in services.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Branchline: APIs</title>'
        '<meta name="viewport" content="width=device-width">'
        "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:45rem;margin:2rem auto;padding:0 1rem}"
        "li{margin:.75rem 0}</style></head><body>"
        f"<h1>Branchline</h1><p>The APIs of the four services:</p><ul>{rows}</ul>"
        '<p>What was mailed: <a href="/demo/mails">the demo’s e-mails</a>.</p></body></html>'
    )
