"""Whether the process lives (`/healthz`), whether it can serve (`/readyz`), what it counts (`/metrics`).

At the root of each service, for orchestrators and Prometheus; a gateway passes on only /api.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from sqlalchemy import text

log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[None]]
"""Raises when what it looks at does not serve."""

TIMEOUT_SECONDS = 2.0
LOOK_EVERY_SECONDS = 1.0


class Readiness:
    """The state of each dependency, looked at at most once a second however many ask."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self.checks = dict(checks)
        self.states: dict[str, str] = {}
        self.looked_at = float("-inf")
        self.looking = asyncio.Lock()

    async def look(self) -> dict[str, str]:
        async with self.looking:
            if time.monotonic() - self.looked_at >= LOOK_EVERY_SECONDS:
                states = await asyncio.gather(*(state_of(name, check) for name, check in self.checks.items()))
                self.states = dict(zip(self.checks, states, strict=True))
                self.looked_at = time.monotonic()
        return self.states


async def state_of(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await check()
    except TimeoutError:
        return "timeout"
    except Exception as exception:
        log.warning("not_ready", dependency=name, exc_info=exception)
        return "unavailable"
    return "ok"


def install_health(app: FastAPI, checks: Mapping[str, Check], vital: Mapping[str, Check]) -> None:
    """`checks` are dependencies, which come back; when one of `vital` raises, only a new process helps."""

    async def database() -> None:
        async with app.state.database.requests.connect() as connection:
            await connection.execute(text("select 1"))

    readiness = Readiness({"database": database, **checks})

    async def live(_: Request) -> Response:
        states = {name: await state_of(name, check) for name, check in vital.items()}
        alive = all(state == "ok" for state in states.values())
        return JSONResponse(
            {"status": "ok" if alive else "stalled", "service": app.state.service_name},
            status_code=200 if alive else 503,
        )

    async def ready(_: Request) -> Response:
        states = await readiness.look()
        all_ok = all(state == "ok" for state in states.values())
        return JSONResponse(
            {"status": "ok" if all_ok else "unavailable", "dependencies": states}, status_code=200 if all_ok else 503
        )

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"Content-Type": content_type})

    app.add_route("/healthz", live)
    app.add_route("/readyz", ready)
    app.add_route("/metrics", metrics)
