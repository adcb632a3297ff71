"""What a person sees while a feed is pushed: how far, how fast, how long still."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from feeds.push import Pushed

LINE_EVERY_S = 5


class PushProgress:
    """A bar on a terminal; elsewhere a line now and then. `total` may be an estimate, or None."""

    def __init__(self, what: str, total: int | None, start_at: int = 0, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._what = what
        self._total = total
        self._start_at = start_at
        self._begun = self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} events" if total else "{task.completed:,.0f} events"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[parked]}", style="yellow"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(what, total=total, completed=start_at, rate="", parked="")

    def __enter__(self) -> "PushProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None) -> None:
        """All was pushed unless something was raised: an estimate becomes the number it was."""
        if kind is None and (done := self._bar.tasks[0].completed):
            self._bar.update(self._task, total=done)
        self._bar.stop()

    async def show(self, pushed: Pushed) -> None:
        """Fits `push(on_confirmed=...)`."""
        now = time.monotonic()
        per_second = (pushed.confirmed - self._start_at) / max(now - self._begun, 1e-3)
        rate = f"{per_second:,.0f}/s"
        parked = f"{pushed.parked:,} parked" if pushed.parked else ""
        total = None if self._total is None else max(self._total, pushed.confirmed)
        self._bar.update(self._task, completed=pushed.confirmed, total=total, rate=rate, parked=parked)
        if not self._console.is_terminal and now - self._said >= LINE_EVERY_S:
            self._said = now
            of = ""
            if total is not None:
                left_s = (total - pushed.confirmed) / max(per_second, 1e-3)
                of = f" of {total:,}"
                rate = f"{rate}, {left_s:.0f} s left"
            line = f"{self._what}: {pushed.confirmed:,}{of} events, {rate}" + (f", {parked}" if parked else "")
            self._console.print(line, highlight=False)
