"""Operators at a terminal mend what of the core is parked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from typer.testing import CliRunner

from services.cli import app
from services.serving import Server, listen
from tests.bank import branch, push
from tests.customer.asking import OPERATOR
from tests.customer.test_kept_events import NAME, kept, wrong
from tests.harness import ServiceUnderTest

Run = Callable[..., Awaitable[tuple[int, list[str]]]]


@pytest.fixture
async def branchline(customer: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    """Runs `branchline core-events …` against the service, which answers on a port of its own."""
    listening = listen("127.0.0.1", 0)
    server = Server(customer.app, on_exit=lambda: None)
    server.config.lifespan = "off"
    serving = asyncio.ensure_future(server.serve([listening]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    monkeypatch.setenv("BRANCHLINE_TOKEN", customer.token(OPERATOR))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    async def run(*arguments: str) -> tuple[int, list[str]]:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["core-events", *arguments, "--url", url])
        # The service runs in this process too, and logs to what is the standard output at the moment.
        return result.exit_code, [line for line in result.output.splitlines() if '"trace_id"' not in line]

    yield run
    server.should_exit = True
    await serving


async def test_parked_events_are_listed_shown_mended_and_replayed(branchline: Run, customer: ServiceUnderTest) -> None:
    await push(customer, [branch("B1")])
    await push(customer, wrong(1) + b"\n" + wrong(2))
    one, two = await kept(customer)
    code, lines = await branchline("list", "--code", "malformed_event")
    assert code == 0
    assert [line.split()[0] for line in lines] == [one["kept_id"], two["kept_id"]]
    assert "malformed_event: /data/revision" in lines[0]
    assert NAME not in "".join(lines)
    shown = json.loads("\n".join((await branchline("show", one["kept_id"]))[1]))
    assert NAME in shown["cloud_event"]
    assert await branchline("replay", "--all") == (1, ["0 settled, 2 still kept."])
    code, (line,) = await branchline("replay", one["kept_id"])
    assert (code, line.split("  ")[1]) == (1, "parked")
    mended = await branchline("replay", one["kept_id"], "--patch", '{"data": {"revision": 1}}')
    assert mended == (0, ["core w-1  applied"])
    assert [event["id"] for event in await kept(customer)] == ["w-2"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([], "say which"),
        (["x", "--all"], "say which"),
        (["--all", "--patch", "{}"], "say which"),
        (["x", "--patch", "{"], "no JSON"),
        (["x"], "kept_event_not_found"),
    ],
)
async def test_refusals_are_one_line(branchline: Run, said: list[str], reason: str) -> None:
    code, (line,) = await branchline("replay", *said)
    assert code == 1
    assert reason in line
