"""A receiver of webhooks, a real HTTP server on loopback that answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = Callable[[], str | Awaitable[str]]


@dataclass(frozen=True)
class Called:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """`answer` gives a status and headers, as "200 OK"; "" hangs up without a word."""

    answer: Answer = lambda: "204 No Content"
    port: int = 0
    called: list[Called] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alerts?token=path-secret"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.called.append(Called(request.split(" ")[1], headers, body))
            said = self.answer()
            status = said if isinstance(said, str) else await said
            if status:
                writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[Receiver]:
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


def saying(*answers: str) -> Answer:
    """These, one after the other, and the last for ever."""
    left = list(answers)
    return lambda: left.pop(0) if len(left) > 1 else left[0]
