"""Operators at a terminal do what the API does."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

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
    assert refused == (1, ["branchline: say which: by their ids, by a filter as --code, or --all."])


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


async def test_a_dead_letter_is_edited_by_a_file_a_patch_a_header_or_in_an_editor(
    branchline: Run, service: ServiceUnderTest, moods: Moods, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (letter,) = await park(service, moods, 1)
    this = ("edit", "scoring", letter["id"])

    async def shown() -> dict[str, Any]:
        found: dict[str, Any] = json.loads("\n".join((await branchline("show", "scoring", letter["id"])).lines))
        return found

    assert await branchline(*this, "--patch", '{"score": 2}') == (0, [f"{letter['id']}  edited"])
    assert await branchline(*this, "--patch", '{"score": 2}') == (0, [f"{letter['id']}  not changed"])
    await branchline(*this, "--header", "ce_type=a=b", "--header", "note=x")
    await branchline(*this, "--no-header", "note")
    now = await shown()
    assert (now["record"]["headers"]["ce_type"], now["type"]) == ("a=b", "a=b")
    assert "note" not in now["record"]["headers"]
    assert [json.loads(edit["payload"])["score"] for edit in now["history"]] == [1, 2, 2]
    file = tmp_path / "mended.json"
    file.write_text(now["record"]["payload"].replace('"score":2', '"score":3'), encoding="utf-8")
    assert (await branchline(*this, "--payload", str(file))).exit_code == 0
    monkeypatch.setenv("EDITOR", "sed -i s/:3/:4/")
    assert await branchline(*this) == (0, [f"{letter['id']}  edited"])
    monkeypatch.setenv("EDITOR", "true")
    assert await branchline(*this) == (0, [f"{letter['id']}  not changed"])
    assert json.loads((await shown())["record"]["payload"])["score"] == 4
    await branchline(*this, "--header", f"ce_type={SurveyReported.TYPE}")
    assert (await branchline("replay", "scoring", letter["id"])).exit_code == 0
    assert await effects(service) == [4]


async def test_dead_letters_are_counted_edited_and_replayed_by_filter_in_parts(
    branchline: Run, service: ServiceUnderTest, moods: Moods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.dead_letters_cli.CHUNK", 2)
    letters = await park(service, moods, 1, 2, 3)
    for command in ("edit", "replay"):
        counted = await branchline(command, "scoring", "--topic", SurveyReported.TOPIC, "--dry-run")
        assert counted.exit_code == 0
        assert counted.lines[0].startswith(f"3  handler_failed  {SurveyReported.TYPE}  {SurveyReported.TOPIC}  since ")
        assert counted.lines[1] == "3 in all."
    assert await effects(service) == []
    by_filter = ("edit", "scoring", "--code", "handler_failed", "--patch", '{"score": 9}')
    assert await branchline(*by_filter) == (0, ["2 of 3 …", "3 edited, 0 are so already, 0 refused."])
    assert await branchline(*by_filter) == (0, ["2 of 3 …", "0 edited, 3 are so already, 0 refused."])
    until = ("--from", "2020-01-01T00:00:00Z", "--until", letters[0]["parked_at"])
    assert await branchline("replay", "scoring", *until) == (
        0,
        ["0 delivered, 0 parked again, 0 not there any more."],
    )
    everything = await branchline("replay", "scoring", "--type", SurveyReported.TYPE)
    assert everything == (0, ["2 of 3 …", "3 delivered, 0 parked again, 0 not there any more."])
    assert await effects(service) == [9, 9, 9]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["--patch", "{}"], "say which"),
        (["--all"], "say what to change"),
        (["--all", "--payload", "x"], "cannot be read"),
        (["x", "--patch", "{"], "--patch cannot be read"),
        (["x", "--header", "ce_type"], "NAME=VALUE"),
        (["x", "y"], "the editor opens one letter"),
        (["x", "--dry-run"], "counts what a filter finds"),
    ],
)
async def test_an_edit_that_says_too_little_or_too_much_is_refused(
    branchline: Run, said: list[str], reason: str
) -> None:
    refused = await branchline("edit", "scoring", *said)
    assert refused.exit_code == 1
    (line,) = refused.lines
    assert reason in line
