import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import uvicorn

from shared.web.sse import LiveStream
from tests.shared.web.notes import BASE, NOW, Notes


@contextlib.asynccontextmanager
async def serving(notes: Notes) -> AsyncIterator[tuple[uvicorn.Server, str]]:
    """The service behind a real server on a port of its own."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(notes.app, log_config=None, lifespan="off", timeout_graceful_shutdown=5))
    task = asyncio.create_task(server.serve([sock]))
    for _ in range(500):
        if server.started:
            break
        await asyncio.sleep(0.01)
    try:
        yield server, f"http://127.0.0.1:{sock.getsockname()[1]}{BASE}"
    finally:
        notes.app.state.stopping.set()
        server.should_exit = True
        await task


async def events(lines: AsyncIterator[str], count: int) -> list[str]:
    ids: list[str] = []
    async for line in lines:
        if line.startswith("id: "):
            ids.append(line.removeprefix("id: "))
            if len(ids) == count:
                break
    return ids


async def test_a_stream_tells_what_is_new_and_goes_on_where_it_was_cut_off(notes: Notes) -> None:
    await notes.write(size=1)
    await notes.write(size=2, writer="M2")
    async with serving(notes) as (_, url), notes.http() as fake, httpx.AsyncClient(headers=fake.headers) as client:
        async with client.stream("GET", f"{url}/stream") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            assert await events(lines, 1) == ["1"]
            await notes.write(size=3)
            assert await asyncio.wait_for(events(lines, 1), 5) == ["3"], "another manager's note is not told"
        await notes.write(size=4)
        async with client.stream("GET", f"{url}/stream", headers={"Last-Event-ID": "3"}) as answer:
            assert await events(answer.aiter_lines(), 1) == ["4"]


@contextlib.asynccontextmanager
async def streaming(notes: Notes, **who: Any) -> AsyncIterator[tuple[uvicorn.Server, httpx.Response]]:
    async with (
        serving(notes) as (server, url),
        notes.http(**who) as fake,
        httpx.AsyncClient(headers=fake.headers) as client,
        client.stream("GET", f"{url}/stream") as answer,
    ):
        assert answer.status_code == 200
        yield server, answer


async def test_a_stream_holds_no_transaction_open(notes: Notes) -> None:
    held = "select count(*) from pg_stat_activity where usename = 'notes_api' and xact_start < now() - interval '0.3 s'"
    async with streaming(notes):
        await asyncio.sleep(0.5)
        assert await notes.rows(held) == [(0,)]


async def test_a_stream_ends_with_the_token_that_opened_it(notes: Notes) -> None:
    now = [NOW]
    notes.app.state.clock = lambda: now[0]
    async with streaming(notes, until=NOW + timedelta(seconds=60)) as (_, answer):
        await asyncio.sleep(0.2)
        now[0] += timedelta(seconds=60)
        assert await asyncio.wait_for(answer.aread(), 2) == b""


async def test_a_stream_ends_when_the_service_is_told_to_stop(notes: Notes) -> None:
    async with streaming(notes) as (_, answer):
        notes.app.state.stopping.set()
        assert await asyncio.wait_for(answer.aread(), 2) == b""


async def test_a_reader_that_leaves_ends_the_stream(notes: Notes) -> None:
    async with serving(notes) as (server, url), notes.http() as fake, httpx.AsyncClient(headers=fake.headers) as client:
        async with client.stream("GET", f"{url}/stream"):
            assert len(server.server_state.tasks) == 1
        for _ in range(100):
            if not server.server_state.tasks:
                break
            await asyncio.sleep(0.02)
        assert not server.server_state.tasks


@pytest.mark.parametrize("until_first", [True, False])
async def test_a_pause_ends_early_when_something_happens(until_first: bool) -> None:
    stopping, happened = asyncio.Event(), asyncio.Event()
    live = LiveStream(stopping, lambda: NOW, None)
    (happened if until_first else stopping).set()
    await asyncio.wait_for(live.pause(60, until=happened), 1)
    assert bool(live) is until_first
