"""Loading a bank's history into the customer service's database, file by file, as `branchline backfill` does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol
from uuid import UUID

import msgspec
import structlog
from psycopg.errors import UniqueViolation
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from feeds.files.layout import File, Layout, short_name
from feeds.files.reading import chunks, content_of
from feeds.rows import FeedRefused
from services.backfill_parts import Ahead, Part, Receiving
from services.customer.use_cases.backfill import (
    FileChanged,
    LoadedElsewhere,
    Progress,
    TooManyParked,
    backfill_id_of,
    begin_backfill,
    count_held,
    faults_of,
    finish_backfill,
    load_rows,
    progress_of,
)
from services.customer.use_cases.ingestion import Rules, release_all_due
from services.customer.use_cases.receiving import Remembered
from shared.audit.unattended import reach, working_at
from shared.clock import Clock, system_clock
from shared.database import Database
from shared.messaging.faults import backoff, is_transient, name_of

log = structlog.get_logger(__name__)


_KNOWN_BY_NOW = (IntegrityError, UniqueViolation)
"""The same events came before, or by another way at the same moment: the next time they are known."""


class BackfillFailed(Exception):
    """The loading ended before its end; the text says why, and what to do."""


@dataclass
class Loaded:
    """What became of a file, in all its runs; `before` is how far it was when this run began."""

    file: File
    before: Progress
    now: Progress
    seconds: float = 0.0
    faults: list[tuple[int, str, str | None, str]] = field(default_factory=list)
    """Line, code, pointer and detail of the first rows that are parked."""

    @property
    def read(self) -> int:
        """Records that this run read."""
        return self.now.position - self.before.position


class Watcher(Protocol):
    """Is told how the loading goes on."""

    def begins(self, file: File, progress: Progress) -> None: ...

    def moved(self, file: File, progress: Progress, share: float) -> None: ...

    def waits(self, file: File, fault: str) -> None: ...

    def ends(self, loaded: Loaded) -> None: ...


@dataclass(frozen=True)
class Terms:
    """How to load. `rows` is the most of one transaction; every relay waits for one, so none takes long.

    The more rows an account has in one, the less each costs: it is locked, moved and told of once.
    """

    rules: Rules
    rows: int = 200_000
    most_parked: int = 1_000
    again: bool = False
    patience_seconds: float = 300.0
    shown_faults: int = 20
    clock: Clock = system_clock


async def backfill(
    database: Database, files: Sequence[File], layout: Layout, terms: Terms, watcher: Watcher
) -> list[Loaded]:
    """Loads the files one after the other. Raises FeedRefused, BackfillFailed."""
    loaded = []
    remembered = Remembered(distrusted=0)
    for file in files:
        if file.event_type is not None and layout.source is None:
            raise FeedRefused("missing_source", f"whose ids {file.path.name} has is not said; --source says it")
        with working_at("backfill"):
            loaded.append(await _Loading(database, file, layout, terms, watcher, remembered).load())
    return loaded


async def still_held(database: Database) -> int:
    async with database.transaction() as session:
        return await count_held(session)


class _Loading:
    SLOW_SECONDS = 4.0
    LEAST, FIRST = 100, 100_000
    BLOCK = 50_000
    """Rows that are read at once: several go into one transaction."""
    ATTEMPTS = 3

    def __init__(
        self,
        database: Database,
        file: File,
        layout: Layout,
        terms: Terms,
        watcher: Watcher,
        remembered: Remembered,
    ) -> None:
        self._database = database
        self._file = file
        self._layout = layout
        self._terms = terms
        self._watcher = watcher
        self._receiving = Receiving(layout.source or "", terms.clock)
        self._ahead = Ahead(file.path.name, self._receiving, terms.clock, min(self.FIRST, terms.rows))
        self._remembered = remembered

    async def load(self) -> Loaded:
        file, terms = self._file, self._terms
        path = str(file.path)
        content = await asyncio.to_thread(content_of, file.path)
        what = short_name(file.event_type) if file.event_type else None
        reading = msgspec.json.encode({"type": what, "format": file.format, **self._layout.as_said()}, order="sorted")
        self._id = backfill_id_of(content, reading.decode())
        async with self._alone(self._id):
            try:
                async with self._database.transaction() as session:
                    before = await begin_backfill(
                        session, path=path, content=content, reading=reading.decode(), again=terms.again
                    )
            except FileChanged as fault:
                raise BackfillFailed(
                    f"{path} has changed since its first {fault.position:,} records were loaded."
                    " --again loads it from its beginning; what is there is not doubled."
                ) from None
            await self._release()
            loaded = Loaded(file, before, before)
            self._watcher.begins(file, before)
            if before.finished_at is None:
                began = perf_counter()
                try:
                    await self._read(before.position)
                finally:
                    loaded.seconds = perf_counter() - began
            async with self._database.transaction() as session:
                loaded.now = await progress_of(session, self._id)
                faults = await faults_of(session, self._id, terms.shown_faults)
                loaded.faults = [(fault.line, fault.code, fault.pointer, fault.detail) for fault in faults]
        self._watcher.ends(loaded)
        return loaded

    @asynccontextmanager
    async def _alone(self, backfill_id: UUID) -> AsyncIterator[None]:
        """One process at a time loads a file; a second one is told so at once. Ends with the process that holds it."""
        async with self._database.jobs.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            lock = {"name": f"backfill:{backfill_id}"}
            if not await connection.scalar(text("select pg_try_advisory_lock(hashtextextended(:name, 0))"), lock):
                raise BackfillFailed(f"{self._file.path} is being loaded by another backfill.")
            try:
                yield
            finally:
                if not connection.invalidated:
                    await connection.invalidate()  # closes it, and the lock ends with it

    async def _read(self, position: int) -> None:
        """Loads what follows `position`; the next part is read and received while this one is written."""
        parts = self._ahead.parts(chunks(self._file, self._layout, position, min(self.BLOCK, self._terms.rows)))
        coming = asyncio.create_task(asyncio.to_thread(next, parts, None))
        try:
            while (part := await coming) is not None:
                coming = asyncio.create_task(asyncio.to_thread(next, parts, None))
                await self._load(part)
                await self._release()
                position = part.end
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        async with self._database.transaction() as session:
            await finish_backfill(session, self._id, position, self._terms.clock())

    async def _release(self) -> None:
        """Applies what waited for the rows just loaded, some in each transaction."""
        delays, waited_from = backoff(), perf_counter()
        while True:
            try:
                return await release_all_due(self._database, self._terms.rules, self._terms.clock)
            except Exception as fault:
                if not (is_transient(fault) or isinstance(fault, _KNOWN_BY_NOW)):
                    raise
                await self._wait(fault, waited_from, next(delays))

    async def _wait(self, fault: Exception, since: float, seconds: float) -> None:
        """Raises BackfillFailed when patience is at its end."""
        if perf_counter() - since > self._terms.patience_seconds:
            raise BackfillFailed(
                f"the database is away ({name_of(fault)}). Run it again: it goes on from where it is."
            ) from None
        self._watcher.waits(self._file, name_of(fault))
        await asyncio.sleep(seconds)

    async def _load(self, whole: Part) -> None:
        """In one transaction, or in several: when one is slow, or to find the row that fails."""
        left = whole.of_at_most(self._ahead.most)
        delays, failures = backoff(), 0
        waited_from = perf_counter()
        while left:
            part = left[0]
            try:
                progress = await self._commit(part)
            except (TooManyParked, LoadedElsewhere) as fault:
                raise self._refusal(fault) from None
            except Exception as fault:
                if is_transient(fault):
                    await self._wait(fault, waited_from, next(delays))
                    done = await self._where_it_is(part)
                    if done is None:
                        continue
                    progress = done
                else:
                    failures += 1
                    if isinstance(fault, _KNOWN_BY_NOW) and failures < self.ATTEMPTS:
                        self._remembered.distrust()
                        continue
                    if len(part) > 1:
                        left[:1] = part.halves()
                        failures = 0
                    elif failures >= self.ATTEMPTS:
                        left[0] = part.parked(self._file.path.name, name_of(fault))
                        log.error("row_fails", file=self._file.path.name, position=part.first, fault=name_of(fault))
                    if failures > 2 * self.ATTEMPTS:
                        raise  # not even parking it works
                    continue
            left.pop(0)
            failures, delays, waited_from = 0, backoff(), perf_counter()
            self._watcher.moved(self._file, progress, whole.share)

    async def _commit(self, part: Part) -> Progress:
        arrivals = self._receiving.arrivals(part)
        rows = [self._receiving.one(item, arrivals.now) for item in arrivals.others if item is not None]
        began = perf_counter()
        async with self._database.transaction() as session:
            await load_rows(
                session,
                self._id,
                rows,
                expected=part.first,
                next_position=part.end,
                most_parked=self._terms.most_parked,
                rules=self._terms.rules,
                now=arrivals.now,
                transactions=[arrivals.transactions] if arrivals.transactions is not None else [],
                remembered=self._remembered,
            )
            reach(session, (), resource=f"backfill/{self._id}/{part.first}-{part.end}")
            progress = await progress_of(session, self._id)
        seconds, ahead = perf_counter() - began, self._ahead
        if seconds > self.SLOW_SECONDS:
            ahead.most = max(self.LEAST, min(ahead.most, len(part)) // 2)
        elif seconds < self.SLOW_SECONDS / 2:
            ahead.most = min(self._terms.rows, ahead.most * 2)
        return progress

    async def _where_it_is(self, part: Part) -> Progress | None:
        """Of a part whose commit got no answer: how far the file is if it was done, None if it was not."""
        try:
            async with self._database.transaction() as session:
                progress = await progress_of(session, self._id)
        except Exception as fault:
            if is_transient(fault):
                return None
            raise
        return progress if progress.position == part.end else None

    def _refusal(self, fault: TooManyParked | LoadedElsewhere) -> BackfillFailed:
        name = self._file.path
        if isinstance(fault, LoadedElsewhere):
            return BackfillFailed(f"{name} is being loaded by another backfill.")
        rows = sorted(fault.parked, key=lambda row: row.line)
        shown = [
            f"  line {row.line:,}: {row.code} at {row.pointer or '/'}: {row.detail}"
            for row in rows[: self._terms.shown_faults]
        ]
        return BackfillFailed(
            f"{name}: more than {self._terms.most_parked:,} rows are wrong, which --most-parked allows."
            f" Nothing of the last {len(rows):,} is kept; what was loaded before stays.\n" + "\n".join(shown)
        )
