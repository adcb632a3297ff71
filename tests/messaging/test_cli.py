"""Operators at a terminal do what the API does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from services.cli import app
from services.serving import Server, listen
from shared.events.customer import SurveyReported
from shared.ids import new_id
from tests.harness import ServiceUnderTest, manager, operator
from tests.messaging.test_operators import Moods, effects, moods, park, service

__all__ = ["moods", "service"]


class Said(NamedTuple):
    """How a command ended, and what it said on both streams."""

    exit_code: int
    lines: list[str]


Run = Callable[..., Awaitable[Said]]


@pytest.fixture
async def branchline(service: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    """Runs `branchline dead-letters …` against the service, which answers on a port of its own."""
    listening = listen("127.0.0.1", 0)
    server = Server(service.app, on_exit=lambda: None)
    server.config.lifespan = "off"
    serving = asyncio.ensure_future(server.serve([listening]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    monkeypatch.setenv("BRANCHLINE_TOKEN", service.token(operator()))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    async def run(*arguments: str) -> Said:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["dead-letters", *arguments, "--url", url])
        # The service runs in this process too, and logs to what is the standard output at the moment.
        return Said(result.exit_code, [line for line in result.output.splitlines() if '"trace_id"' not in line])

    yield run
    server.should_exit = True
    await serving


async def test_dead_letters_are_listed_and_shown(branchline: Run, service: ServiceUnderTest, moods: Moods) -> None:
    letters = await park(service, moods, 1, 2, 3)
    listed = await branchline("list", "scoring")
    assert listed.exit_code == 0
    assert [line.split()[1] for line in listed.lines] == [letter["id"] for letter in letters]
    assert SurveyReported.TYPE in listed.lines[0]
    assert "handler_failed: RuntimeError in tell" in listed.lines[0]
    shown = await branchline("show", "scoring", letters[0]["id"])
    assert letters[0]["detail"] in "".join(shown.lines)


async def test_dead_letters_are_replayed_by_id_by_filter_and_all(
    branchline: Run, service: ServiceUnderTest, moods: Moods
) -> None:
    letters = await park(service, moods, 1, 2, 3)
    one = ("replay", "scoring", letters[1]["id"])
    assert await branchline(*one) == (0, ["1 delivered, 0 parked again, 0 not there any more."])
    assert await branchline(*one) == (0, ["0 delivered, 0 parked again, 1 not there any more."])
    none = ("replay", "scoring", "--code", "malformed_event")
    assert await branchline(*none) == (0, ["0 delivered, 0 parked again, 0 not there any more."])
    moods.failing = {1}
    rest = await branchline("replay", "scoring", "--code", "handler_failed", "--type", SurveyReported.TYPE)
    assert rest.exit_code == 1
    assert "1 delivered, 1 parked again, 0 not there any more." in rest.lines
    moods.failing = set()
    assert (await branchline("replay", "scoring", "--all")).exit_code == 0
    assert sorted(await effects(service)) == [1, 2, 3]


@pytest.mark.parametrize("said", [[], ["--all", "--code", "x"], [str(new_id()), "--all"]])
async def test_what_to_replay_is_said_in_one_way(branchline: Run, said: list[str]) -> None:
    refused = await branchline("replay", "scoring", *said)
    assert refused == (1, ["branchline: say which: by their ids, by --code and --type, or --all."])


async def test_refusals_are_one_line(
    branchline: Run, service: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = await branchline("list", "sorcery")
    missing = await branchline("show", "scoring", str(new_id()))
    monkeypatch.setenv("BRANCHLINE_TOKEN", service.token(manager()))
    forbidden = await branchline("list", "scoring")
    for refusal, reason in ((unknown, "sorcery"), (missing, "dead_letter_not_found"), (forbidden, "forbidden")):
        assert refusal.exit_code == 1
        (line,) = refusal.lines
        assert reason in line
