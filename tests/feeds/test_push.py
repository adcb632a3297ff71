"""Pushing a feed, against real HTTP servers on the loopback that answer as the ingestion does, or fail to."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from feeds import push as push_module
from feeds.push import PATH, Pushed, PushFailed, push

LINES = [json.dumps({"id": f"fact-{number}"}).encode() for number in range(1, 101)]

Asgi = Callable[..., Awaitable[None]]


class Ingestion:
    """Applies each id once. `fails` decides, from how many requests there were, what to do instead."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.bodies: list[bytes] = []
        self.tokens: list[str] = []
        self.requests = 0
        self.fails: Callable[[int], tuple[int, dict[str, str]] | None] = lambda _: None
        self.loses_answer_of: set[int] = set()
        self.bad: set[str] = set()
        self.slow_first = False

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert (scope["method"], scope["path"]) == ("POST", PATH)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        assert headers["content-type"] == "application/x-ndjson"
        self.tokens.append(headers["authorization"])
        self.requests += 1
        request = self.requests
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if (failure := self.fails(request)) is not None:
            status, extra = failure
            problem = {"code": "no_scope", "title": "No", "detail": "The token lacks corebanking:write."}
            await respond(send, status, problem, extra)
            return
        if self.slow_first and request == 1:
            await asyncio.sleep(0.2)
        self.bodies.append(body)
        answer = self.apply(body)
        if request in self.loses_answer_of:
            raise ConnectionAbortedError("the server dies after it has committed")
        await respond(send, 200, answer)

    def apply(self, body: bytes) -> dict[str, Any]:
        ids = [json.loads(line)["id"] for line in body.splitlines()]
        errors = [
            {"line": at, "id": id, "pointer": "/data", "code": "malformed_event", "detail": "no"}
            for at, id in enumerate(ids, start=1)
            if id in self.bad
        ]
        good = [id for id in ids if id not in self.bad]
        new = [id for id in good if id not in self.applied]
        self.applied += new
        counts = {"received": len(ids), "applied": len(new), "held": 0, "parked": len(errors)}
        return {**counts, "duplicate": len(good) - len(new), "errors": errors}


async def respond(send: Any, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


@asynccontextmanager
async def served(app: Asgi, port: int = 0) -> AsyncIterator[str]:
    listening = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def ingestion() -> Ingestion:
    return Ingestion()


@pytest.fixture
async def url(ingestion: Ingestion) -> AsyncIterator[str]:
    async with served(ingestion) as address:
        yield address


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_module, "FIRST_PAUSE_S", 0.01)


def ids(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["id"] for line in lines]


async def test_every_line_is_pushed_in_order_and_counted(ingestion: Ingestion, url: str) -> None:
    pushed = await push(LINES, base_url=url, token="secret", chunk_lines=30)
    assert ingestion.applied == ids(LINES)
    assert [len(body.splitlines()) for body in ingestion.bodies] == [30, 30, 30, 10]
    assert set(ingestion.tokens) == {"Bearer secret"}
    assert pushed == Pushed(confirmed=100, received=100, applied=100)


async def test_a_chunk_ends_before_it_is_too_large(
    ingestion: Ingestion, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_module, "CHUNK_BYTES", 200)
    await push(LINES, base_url=url, token="secret")
    assert ingestion.applied == ids(LINES)
    assert max(len(body) for body in ingestion.bodies) <= 200


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_failure_that_may_pass_is_tried_again(ingestion: Ingestion, url: str, status: int) -> None:
    ingestion.fails = lambda request: (status, {}) if request in {2, 3, 5} else None
    pushed = await push(LINES, base_url=url, token="secret", chunk_lines=30)
    assert ingestion.applied == ids(LINES)
    assert pushed.confirmed == 100
    assert ingestion.requests == 4 + 3


async def test_the_pause_that_the_server_asks_for_is_kept(ingestion: Ingestion, url: str) -> None:
    ingestion.fails = lambda request: (429, {"retry-after": "1"}) if request == 1 else None
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await push(LINES, base_url=url, token="secret")
    assert loop.time() - begun >= 1


async def test_a_chunk_that_was_applied_but_not_answered_is_sent_again_and_counts_as_duplicate(
    ingestion: Ingestion, url: str
) -> None:
    ingestion.loses_answer_of = {2}
    pushed = await push(LINES, base_url=url, token="secret", chunk_lines=30)
    assert ingestion.applied == ids(LINES)
    assert pushed == Pushed(confirmed=100, received=100, applied=70, duplicate=30)


async def test_a_server_that_goes_away_in_the_middle_and_comes_back_loses_nothing(ingestion: Ingestion) -> None:
    came_back = asyncio.Event()
    gone = asyncio.Event()

    async def stop_after_two(pushed: Pushed) -> None:
        if pushed.confirmed == 20:
            gone.set()
            await came_back.wait()

    async with served(ingestion) as url:
        pushing = asyncio.create_task(
            push(LINES, base_url=url, token="secret", chunk_lines=10, in_flight=2, on_confirmed=stop_after_two)
        )
        await gone.wait()
    came_back.set()
    await asyncio.sleep(0.1)
    async with served(ingestion, port=int(url.rpartition(":")[2])):
        pushed = await pushing
    assert sorted(ingestion.applied) == sorted(ids(LINES))
    assert pushed.confirmed == 100
    assert pushed.applied + pushed.duplicate == 100


async def test_what_was_confirmed_is_where_the_next_push_starts(ingestion: Ingestion, url: str) -> None:
    stored = 0

    async def store(pushed: Pushed) -> None:
        nonlocal stored
        stored = pushed.confirmed

    ingestion.fails = lambda request: (403, {}) if request == 3 else None
    with pytest.raises(PushFailed):
        await push(LINES, base_url=url, token="secret", chunk_lines=30, on_confirmed=store)
    assert stored == 60
    pushed = await push(LINES, base_url=url, token="secret", chunk_lines=30, start_at=stored, on_confirmed=store)
    assert ingestion.applied == ids(LINES)
    assert stored == 100
    assert pushed == Pushed(confirmed=100, received=40, applied=40)


async def test_two_chunks_in_flight_are_confirmed_in_order(ingestion: Ingestion, url: str) -> None:
    ingestion.slow_first = True
    confirmed: list[int] = []

    async def store(pushed: Pushed) -> None:
        confirmed.append(pushed.confirmed)

    await push(LINES, base_url=url, token="secret", chunk_lines=40, in_flight=2, on_confirmed=store)
    assert confirmed == [40, 80, 100]
    assert sorted(ingestion.applied) == sorted(ids(LINES))


async def test_a_bad_line_is_reported_by_its_number_in_the_feed(ingestion: Ingestion, url: str) -> None:
    ingestion.bad = {"fact-7", "fact-65"}
    pushed = await push(LINES, base_url=url, token="secret", chunk_lines=30)
    assert (pushed.applied, pushed.parked) == (98, 2)
    assert [(error.line, error.id, error.code, error.pointer) for error in pushed.errors] == [
        (7, "fact-7", "malformed_event", "/data"),
        (65, "fact-65", "malformed_event", "/data"),
    ]


async def test_a_refusal_is_told_at_once_with_its_code(ingestion: Ingestion, url: str) -> None:
    ingestion.fails = lambda _: (403, {})
    with pytest.raises(PushFailed, match="no_scope") as failed:
        await push(LINES, base_url=url, token="secret")
    assert (failed.value.code, failed.value.status) == ("refused", 403)
    assert ingestion.requests == 1


async def test_patience_ends(ingestion: Ingestion, url: str) -> None:
    ingestion.fails = lambda _: (503, {})
    with pytest.raises(PushFailed, match="answered 503 for 0 s") as failed:
        await push(LINES, base_url=url, token="secret", patience_s=0.2)
    assert failed.value.code == "unreachable"


async def test_who_asks_for_more_patience_than_there_is_is_not_asked_again(ingestion: Ingestion, url: str) -> None:
    ingestion.fails = lambda request: (503, {"retry-after": "3600"} if request == 3 else {})
    with pytest.raises(PushFailed, match="answered 503 for 60 s"):
        await push(LINES, base_url=url, token="secret", patience_s=60)
    assert ingestion.requests == 3


async def test_an_answer_of_something_else_is_not_taken_for_the_ingestions(url: str) -> None:
    async def page(_scope: Any, _receive: Any, send: Any) -> None:
        await respond(send, 200, "welcome")

    async with served(page) as elsewhere:
        with pytest.raises(PushFailed) as failed:
            await push(LINES, base_url=elsewhere, token="secret")
    assert failed.value.code == "unintelligible"


async def test_every_request_may_carry_a_new_token(ingestion: Ingestion, url: str) -> None:
    made = iter(range(1, 10))
    await push(LINES, base_url=url, token=lambda: f"token-{next(made)}", chunk_lines=40)
    assert ingestion.tokens == ["Bearer token-1", "Bearer token-2", "Bearer token-3"]


async def test_a_client_that_was_given_is_left_open(ingestion: Ingestion, url: str) -> None:
    async with httpx.AsyncClient() as client:
        await push(LINES, base_url=url, token="secret", client=client)
        await push(LINES, base_url=url, token="secret", client=client)
    assert len(ingestion.applied) == 100


async def test_lines_are_made_as_they_are_sent(ingestion: Ingestion, url: str) -> None:
    made = 0
    ahead: list[int] = []

    def feed() -> Any:
        nonlocal made
        for line in LINES:
            made += 1
            yield line

    async def store(pushed: Pushed) -> None:
        ahead.append(made - pushed.confirmed)

    await push(feed(), base_url=url, token="secret", chunk_lines=10, on_confirmed=store)
    assert max(ahead) <= 1


async def test_no_lines_are_no_request(ingestion: Ingestion, url: str) -> None:
    assert await push([], base_url=url, token="secret") == Pushed(confirmed=0)
    assert ingestion.requests == 0
