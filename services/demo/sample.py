"""The sample bank in a running demo: opened once, brought up to yesterday at each start, and never quite still."""

import asyncio
from collections.abc import Iterable
from datetime import date, timedelta

import httpx
import structlog
from rich.console import Console
from sqlalchemy import text

from feeds import sample_bank
from feeds.progress import PushProgress
from feeds.push import Pushed, push
from services.demo.home import Home, SampleBankState
from services.demo.welcome import welcome
from services.line import Line
from shared.auth.principal import Role
from shared.clock import system_clock
from shared.embedded_postgres import EmbeddedPostgres
from shared.messaging.embedded import EmbeddedLog

log = structlog.get_logger(__name__)

CHUNK_LINES = 20_000
KEEP_RECORDS = timedelta(days=7)


class SampleBank:
    def __init__(
        self, home: Home, line: Line, postgres: EmbeddedPostgres, records: EmbeddedLog, console: Console
    ) -> None:
        self._home = home
        self._postgres = postgres
        self._line = line
        self._records = records
        self._console = console

    async def run(self) -> None:
        """Opens the bank on the first start; then everyday life goes on until this is cancelled."""
        state = self._home.read_state()
        if state is None:
            yesterday = system_clock().date() - timedelta(days=1)
            state = SampleBankState(seed=sample_bank.DEFAULT_SEED, until=yesterday, closed_through=yesterday)
            self._home.write_state(state)
        if not state.is_open:
            await self._open(state)
        await welcome(self._line, self._console)
        await self._live(state)

    def _token(self) -> str:
        return self._line.issuer.mint(Role.SERVICE, scopes=["corebanking:write"])

    async def _open(self, state: SampleBankState) -> None:
        lines = sample_bank.lines(state.seed, state.until)
        with PushProgress("Opening the sample bank", sample_bank.EXPECTED_LINES, state.confirmed_lines) as progress:

            async def confirmed(pushed: Pushed) -> None:
                await progress.show(pushed)
                state.confirmed_lines = pushed.confirmed
                self._home.write_state(state)

            pushed = await push(
                lines,
                base_url=self._line.settings.public_url,
                token=self._token,
                start_at=state.confirmed_lines,
                chunk_lines=CHUNK_LINES,
                on_confirmed=confirmed,
            )
        if pushed.parked or pushed.held:
            log.error("sample_bank_refused", parked=pushed.parked, held=pushed.held)
        with self._console.status("Scoring twelve months …"):
            while not await is_quiet(self._line, self._records):  # noqa: ASYNC110 - five databases have to be asked
                await asyncio.sleep(0.2)
        await asyncio.to_thread(self._postgres.checkpoint)
        state.is_open = True
        self._home.write_state(state)

    async def _live(self, state: SampleBankState) -> None:
        """What happened since the demo ran last, then what happens, each event at its time of the day."""

        async def send(lines: Iterable[bytes]) -> None:
            await push(lines, base_url=self._line.settings.public_url, token=self._token, client=client)

        async def closed(day: date) -> None:
            state.closed_through = day
            self._home.write_state(state)
            await self._records.forget(KEEP_RECORDS)

        async with httpx.AsyncClient(timeout=60) as client:
            await sample_bank.keep_going(
                send,
                seed=state.seed,
                until=state.until,
                closed=state.closed_through,
                clock=system_clock,
                on_closed=closed,
            )


async def is_quiet(line: Line, records: EmbeddedLog) -> bool:
    """Whether all that was received has gone through the whole line."""
    ends = await records.ends()
    for name, database in line.databases.items():
        async with database.jobs.connect() as connection:
            if await connection.scalar(text("select exists (select from outbox)")):
                return False
            rows = await connection.execute(text("select topic, partition, next_offset from consumer_offset"))
            at = {(row.topic, row.partition): row.next_offset for row in rows}
            heard = line.services[name].subscriptions.topics
            if any(at.get(where, 0) < end for where, end in ends.items() if where.topic in heard):
                return False
    async with line.databases["scoring"].jobs.connect() as connection:
        due = await connection.scalar(
            text(
                "select exists (select from customer_score s join business_day b using (partition)"
                " where s.due_on <= b.last_closed_on)"
            )
        )
    async with line.databases["notification"].jobs.connect() as connection:
        waiting = await connection.scalar(text("select exists (select from delivery where state = 'pending')"))
    return not due and not waiting
