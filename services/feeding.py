"""Feeds of a bank's files, as a person at a terminal runs them."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import typer

from feeds import berka
from feeds.progress import PushProgress
from feeds.push import PushFailed, push
from feeds.rows import FeedRefused, RowFault
from services.demo.tokens import ask_for_token


class FeedFailed(Exception):
    """The feed ended before its end; the text says why."""


async def feed_berka(
    folder: Path, until: str | None, shift_to_now: bool, url: str, token: str | None, home: Path
) -> None:
    """Raises FeedFailed, TokenRefused."""
    faults: list[RowFault] = []
    try:
        last_day = date.fromisoformat(until) if until else None
        files = berka.read(folder, faults.append)
        shift_days = 0
        if shift_to_now:
            shift_days = stored_shift(home / "berka-shift.json", url, berka.shift_to(files, datetime.now(UTC).date()))
            last_day = min(last_day or files.last_transaction_on, files.last_transaction_on)
    except ValueError:
        raise FeedFailed(f"--until {until} is no date; one is written 1993-12-31.") from None
    except FeedRefused as refusal:
        raise FeedFailed(f"{folder}: {refusal.detail} ({refusal.code}).") from None
    for fault in faults:
        typer.echo(str(fault), err=True)
    lines = list(berka.lines(files, until=last_day, shift_days=shift_days))

    def bearer() -> str:
        return token or ask_for_token(url, "service", None, None, ["corebanking:write"])

    try:
        with PushProgress("Feeding Berka", len(lines)) as progress:
            pushed = await push(lines, base_url=url, token=bearer(), on_confirmed=progress.show)
    except PushFailed as failure:
        raise FeedFailed(f"{failure.detail} ({failure.code}). Feed again: what is there is not doubled.") from None
    typer.echo(
        f"{pushed.received:,} events: {pushed.applied:,} applied, {pushed.duplicate:,} there before,"
        f" {pushed.held:,} held, {pushed.parked:,} parked; {len(faults):,} rows could not be read."
    )
    for error in pushed.errors[:20]:
        typer.echo(f"event {error.line:,} ({error.id}): {error.code} at {error.pointer}: {error.detail}", err=True)


def stored_shift(path: Path, url: str, days: int) -> int:
    """The shift that this bank was fed with first: with another one the second feed would contradict the first."""
    shifts: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    if url not in shifts:
        shifts[url] = days
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(shifts))
    return shifts[url]
