"""Pushes a feed's lines through the public ingestion: in order, in chunks, again after every kind of failure.

Again is safe: what the ingestion has had before it counts as a duplicate and does not apply twice.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import uniform
from typing import NamedTuple, TypeAlias

import httpx
import msgspec

from shared.masking import masked

PATH = "/api/customer/v1/core-banking/events"
CHUNK_LINES, CHUNK_BYTES = 3_000, 8_000_000
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
KEPT_ERRORS = 1_000

Token: TypeAlias = str | Callable[[], str]
"""A bearer token, or what makes one: asked before every request, so that it may be a new one."""


class LineError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a line was parked or is held. `line` counts the feed's lines from 1."""

    line: int
    code: str
    outcome: str | None = None
    id: str | None = None
    pointer: str | None = None
    detail: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the ingestion says of a chunk."""

    received: int
    applied: int = 0
    held: int = 0
    parked: int = 0
    duplicate: int = 0
    errors: tuple[LineError, ...] = ()


@dataclass
class Pushed:
    """What became of the lines so far. `confirmed` is where to start the next time; it counts the lines skipped too.

    `errors` holds the first KEPT_ERRORS; `parked` and `held` count all.
    """

    confirmed: int
    received: int = 0
    applied: int = 0
    held: int = 0
    parked: int = 0
    duplicate: int = 0
    errors: list[LineError] = field(default_factory=list)

    def add(self, lines: int, answer: Answer) -> None:
        for error in answer.errors[: KEPT_ERRORS - len(self.errors)]:
            self.errors.append(msgspec.structs.replace(error, line=self.confirmed + error.line))
        self.confirmed += lines
        self.received += answer.received
        self.applied += answer.applied
        self.held += answer.held
        self.parked += answer.parked
        self.duplicate += answer.duplicate


OnConfirmed = Callable[[Pushed], Awaitable[None]]
"""Called after each chunk that the ingestion has confirmed, in the order of the lines, before the next is counted."""


class PushFailed(Exception):
    """The lines from `Pushed.confirmed` on were not confirmed. `code` is stable.

    `refused`: the ingestion said no and would say so again; `unreachable`: it was tried for as long as patience lasted;
    `unintelligible`: what answered is not the ingestion.
    """

    def __init__(self, code: str, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status


@masked
class _Chunk(NamedTuple):
    lines: int
    body: bytes


class _Passing(Exception):
    """A failure that may pass; `pause_s` is how long the server asked to wait."""

    def __init__(self, reason: str, pause_s: float = 0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


async def push(
    lines: Iterable[bytes],
    *,
    base_url: str,
    token: Token,
    start_at: int = 0,
    chunk_lines: int = CHUNK_LINES,
    in_flight: int = 1,
    patience_s: float = 300,
    on_confirmed: OnConfirmed | None = None,
    client: httpx.AsyncClient | None = None,
) -> Pushed:
    """Pushes `lines`, without the first `start_at` of them. Raises PushFailed.

    `patience_s` is how long one chunk is tried again. With two `in_flight` one chunk is on its way while the one
    before it is applied; then a chunk may be applied before the one before it, though never confirmed.
    """
    pushed = Pushed(confirmed=start_at)
    chunks = _chunks(itertools.islice(iter(lines), start_at, None), chunk_lines)
    async with nullcontext(client) if client else httpx.AsyncClient(timeout=httpx.Timeout(120, connect=5)) as http:
        sender = _Sender(http, base_url.rstrip("/") + PATH, token, patience_s)
        sending: deque[tuple[int, asyncio.Task[Answer]]] = deque()
        try:
            more = True
            while more or sending:
                while more and len(sending) < in_flight:
                    # Lines are made as they are asked for, so making a chunk is work: not on the loop.
                    chunk = await asyncio.to_thread(next, chunks, None)
                    if chunk is None:
                        more = False
                    else:
                        sending.append((chunk.lines, asyncio.create_task(sender.send(chunk.body))))
                if sending:
                    count, task = sending[0]
                    answer = await task
                    sending.popleft()
                    pushed.add(count, answer)
                    if on_confirmed is not None:
                        await on_confirmed(pushed)
        finally:
            for _, task in sending:
                task.cancel()
            await asyncio.gather(*(task for _, task in sending), return_exceptions=True)
    return pushed


def _chunks(lines: Iterator[bytes], most_lines: int) -> Iterator[_Chunk]:
    gathered: list[bytes] = []
    size = 0
    for line in lines:
        if gathered and (len(gathered) == most_lines or size + len(line) > CHUNK_BYTES):
            yield _Chunk(len(gathered), b"\n".join(gathered))
            gathered, size = [], 0
        gathered.append(line)
        size += len(line) + 1
    if gathered:
        yield _Chunk(len(gathered), b"\n".join(gathered))


class _Sender:
    def __init__(self, http: httpx.AsyncClient, url: str, token: Token, patience_s: float) -> None:
        self._http = http
        self._url = url
        self._token = token
        self._patience_s = patience_s

    async def send(self, body: bytes) -> Answer:
        """Until it is answered: pauses twice as long after each failure, by chance so that clients do not march."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await self._try(body)
            except _Passing as failure:
                wait_s = failure.pause_s + uniform(pause_s / 2, pause_s)  # noqa: S311 - jitter
                if loop.time() + wait_s > deadline:
                    raise PushFailed("unreachable", f"{failure} for {self._patience_s:.0f} s") from failure
                await asyncio.sleep(wait_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _try(self, body: bytes) -> Answer:
        token = self._token if isinstance(self._token, str) else self._token()
        headers = {"authorization": f"Bearer {token}", "content-type": "application/x-ndjson"}
        try:
            answer = await self._http.post(self._url, content=body, headers=headers)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as failure:
            raise PushFailed("unreachable", f"{self._url} is no address of a web server") from failure
        except httpx.TransportError as failure:
            raise _Passing(f"no answer ({type(failure).__name__})") from failure
        if answer.status_code == httpx.codes.OK:
            try:
                return msgspec.json.decode(answer.content, type=Answer)
            except msgspec.MsgspecError as fault:
                raise PushFailed("unintelligible", f"the answer is not the ingestion's: {fault}", 200) from fault
        if answer.status_code in {408, 425, 429} or answer.status_code >= 500:
            raise _Passing(f"answered {answer.status_code}", _pause_asked(answer.headers.get("retry-after")))
        raise PushFailed("refused", _reason(answer), answer.status_code)


def _pause_asked(retry_after: str | None) -> float:
    """Seconds, or until a date (RFC 9110, 10.2.3); what cannot be read asks for nothing."""
    if retry_after is None:
        return 0
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        return max((parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds(), 0)
    except (ValueError, TypeError):
        return 0


class _Problem(msgspec.Struct):
    title: str | None = None
    detail: str | None = None
    code: str | None = None


def _reason(answer: httpx.Response) -> str:
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem()
    said = [part for part in (problem.code, problem.detail or problem.title) if part]
    return f"answered {answer.status_code}" + (f": {', '.join(said)}" if said else "")
