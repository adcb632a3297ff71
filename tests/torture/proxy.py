"""A TCP proxy that spoils connections on demand: resets, half-open sockets, latency, little bandwidth.

It runs in a thread of its own; every method may be called from any other. What goes through it is not looked at.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

Target = tuple[str, int] | Path
"""A host and port, or a Unix socket."""

CHUNK = 16_384
CHUNKS_UNDER_WAY = 32
"""Of each direction: what is sent to who does not read waits at its sender, as in a network."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Conditions:
    """What holds for every connection, those to come too. `bytes_per_second` is of each direction by itself."""

    latency_seconds: float = 0.0
    bytes_per_second: float | None = None
    is_stalled: bool = False
    """Nothing is forwarded in either direction; it is when this ends."""
    are_answers_withheld: bool = False
    """Requests arrive, and nothing comes back: who asked cannot know what became of it."""


class FaultProxy:
    """Listens on loopback, at `port`, and forwards to `target`, which may be set later and changed."""

    def __init__(self, target: Target | None = None) -> None:
        self.target = target
        self.port = 0
        self.connections_made = 0
        self.resets = 0
        self._conditions = Conditions()
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._call(self._listen())

    def stop(self) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def set(self, **conditions: Any) -> None:
        """Changes the named conditions (see Conditions) and leaves the others."""

        async def change() -> None:
            self._conditions = replace(self._conditions, **conditions)
            for connection in self._connections:
                connection.look_again()

        self._call(change())

    def heal(self) -> None:
        """Forwards as if it were not there. What was left half open stays so until it is reset."""
        self.set(latency_seconds=0.0, bytes_per_second=None, is_stalled=False, are_answers_withheld=False)

    def reset(self) -> int:
        """Resets every connection on both sides; returns how many."""

        async def cut() -> int:
            connections = list(self._connections)
            for connection in connections:
                connection.reset()
            self.resets += len(connections)
            return len(connections)

        return self._call(cut())

    def leave_half_open(self) -> int:
        """Nothing is forwarded any more on the connections that there are, and none is closed; new ones work."""

        async def leave() -> int:
            for connection in self._connections:
                connection.is_left = True
                connection.look_again()
            return len(self._connections)

        return self._call(leave())

    def conditions(self) -> Conditions:
        return self._conditions

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.reset()
        while self._connections:  # noqa: ASYNC110 - each ends as soon as it may run
            await asyncio.sleep(0.01)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target = self.target
            if target is None:
                raise ConnectionRefusedError
            if isinstance(target, Path):
                there = await asyncio.open_unix_connection(target)
            else:
                there = await asyncio.open_connection(*target)
        except OSError:
            _reset(writer)
            return
        connection = _Connection((reader, writer), there, self.conditions)
        self.connections_made += 1
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    def __init__(self, here: Streams, there: Streams, conditions: Callable[[], Conditions]) -> None:
        self._here = here
        self._there = there
        self._conditions = conditions
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self.is_left = False

    async def run(self) -> None:
        """Until both directions have ended, or one has failed."""
        requests = self._forward(self._here[0], self._there[1], is_answer=False)
        answers = self._forward(self._there[0], self._here[1], is_answer=True)
        under_way = {asyncio.ensure_future(requests), asyncio.ensure_future(answers)}
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            while under_way and not self._ended.is_set():
                done, _ = await asyncio.wait({*under_way, ended}, return_when=asyncio.FIRST_COMPLETED)
                faults = [direction.exception() for direction in done]
                if any(faults):
                    self.reset()
                under_way -= done
        finally:
            for task in (*under_way, ended):
                task.cancel()
            await asyncio.gather(*under_way, ended, return_exceptions=True)
            for _, writer in (self._here, self._there):
                writer.close()

    def reset(self) -> None:
        self._ended.set()
        for _, writer in (self._here, self._there):
            _reset(writer)

    def look_again(self) -> None:
        self._changed.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_UNDER_WAY)

        async def take() -> None:
            while True:
                chunk = await reader.read(CHUNK)
                await under_way.put((loop.time() + self._conditions().latency_seconds, chunk))
                if not chunk:
                    return

        async def give() -> None:
            while True:
                due, chunk = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._passable(is_answer=is_answer)
                if not chunk:
                    writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()
                if rate := self._conditions().bytes_per_second:
                    await asyncio.sleep(len(chunk) / rate)

        await _both(take(), give())

    async def _passable(self, *, is_answer: bool) -> None:
        while True:
            conditions = self._conditions()
            if not (self.is_left or conditions.is_stalled or (is_answer and conditions.are_answers_withheld)):
                return
            self._changed.clear()
            await self._changed.wait()


async def _both(*work: Awaitable[None]) -> None:
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Closes so that the other side sees a reset and not an end (a Unix socket's other side sees an end)."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0 and raw.family != socket.AF_UNIX:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
