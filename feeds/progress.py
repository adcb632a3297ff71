"""What a person sees while a feed is pushed: how far, how fast, how long still."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from feeds.push import Pushed

LINE_EVERY_S = 5


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="progress.data.speed")


class PushProgress:
    """A bar on a terminal; elsewhere a line now and then. `total` may be an estimate, or None."""

    def __init__(self, what: str, total: int | None, start_at: int = 0, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._what = what
        self._total = total
        self._start_at = start_at
        self._begun = self._said = time.monotonic()
        columns: tuple[ProgressColumn, ...] = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} events" if total else "{task.completed:,.0f} events"),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[parked]}", style="yellow"),
        )
        self._bar = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task(what, total=total, completed=start_at, parked="")

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
        parked = f"{pushed.parked:,} parked" if pushed.parked else ""
        total = None if self._total is None else max(self._total, pushed.confirmed)
        self._bar.update(self._task, completed=pushed.confirmed, total=total, parked=parked)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._said >= LINE_EVERY_S:
            self._said = now
            rate = (pushed.confirmed - self._start_at) / (now - self._begun)
            self._console.print(self._line(pushed.confirmed, rate, parked), highlight=False)

    def _line(self, confirmed: int, rate: float, parked: str) -> str:
        line = f"{self._what}: {confirmed:,} events"
        if self._total is not None:
            left_s = max(self._total - confirmed, 0) / rate if rate else 0
            line = f"{self._what}: {confirmed:,} of {self._total:,} events, {left_s:.0f} s left"
        return f"{line}, {rate:,.0f}/s" + (f", {parked}" if parked else "")
