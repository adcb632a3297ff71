"""What a person sees while a feed is pushed."""

import io

import pytest
from rich.console import Console

from feeds import progress
from feeds.progress import PushProgress
from feeds.push import Pushed


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def shown(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


async def test_on_a_terminal_a_bar_shows_count_rate_and_time_left() -> None:
    screen = console(terminal=True)
    with PushProgress("Opening the sample bank", 307_000, console=screen) as bar:
        await bar.show(Pushed(confirmed=3_000))
        await bar.show(Pushed(confirmed=6_000, parked=2))
    text = shown(screen)
    assert "Opening the sample bank" in text
    assert "6,000/6,000 events" in text
    assert "/s" in text
    assert "2 parked" in text


async def test_elsewhere_a_line_now_and_then_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    log = console(terminal=False)
    with PushProgress("Feeding berka", 60_000, start_at=3_000, console=log) as bar:
        await bar.show(Pushed(confirmed=6_000, parked=1))
    line = shown(log)
    assert line.startswith("Feeding berka: 6,000 of 60,000 events, ")
    assert "s left" in line
    assert line.rstrip().endswith(" s left, 1 parked")


async def test_without_a_total_the_count_is_shown_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    log = console(terminal=False)
    with PushProgress("Feeding", None, console=log) as bar:
        await bar.show(Pushed(confirmed=500))
    assert shown(log).startswith("Feeding: 500 events, ")


async def test_more_than_was_expected_is_not_more_than_all() -> None:
    screen = console(terminal=True)
    with PushProgress("Opening", 1_000, console=screen) as bar:
        await bar.show(Pushed(confirmed=1_200))
    assert "1,200/1,200 events" in shown(screen)
