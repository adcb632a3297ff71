"""Server-Sent Events that end when they must: at shutdown, and when the token that opened them does.

Whoever runs the server sets `app.state.stopping` at the first signal: uvicorn tells an application only after every
connection has closed, and an open stream's never does. FastAPI writes the events and, while nothing happens, a comment
every 15 seconds. Ids let a reader that was cut off go on where it was:

```python
@router.get("/inbox/stream", response_class=EventSourceResponse)
async def stream_inbox(
    live: Live, sessions: Sessions, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    seen = last_event_id
    while live:
        async with sessions() as session:
            for item in await inbox.after(session, seen):
                yield ServerSentEvent(event="inbox_item", id=str(item.id), data=InboxItemRead.model_validate(item))
                seen = str(item.id)
        await live.pause(1)
```
"""

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Header, Request

from shared.auth.principal import Principal
from shared.clock import Clock


class LiveStream:
    """True while the stream may go on."""

    def __init__(self, stopping: asyncio.Event, clock: Clock, expires_at: datetime | None) -> None:
        self.stopping = stopping
        self.clock = clock
        self.expires_at = expires_at

    def __bool__(self) -> bool:
        return not self.stopping.is_set() and self._seconds_left() > 0

    async def pause(self, seconds: float, *, until: asyncio.Event | None = None) -> None:
        """Waits for `seconds`, shorter when `until` is set or the stream must end."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self.stopping, until) if event is not None]
        try:
            await asyncio.wait(
                waits, timeout=max(0, min(seconds, self._seconds_left())), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for wait in waits:
                wait.cancel()

    def _seconds_left(self) -> float:
        return (self.expires_at - self.clock()).total_seconds() if self.expires_at else float("inf")


async def _live(request: Request) -> LiveStream:
    state = request.app.state
    actor: Principal = request.state.actor
    return LiveStream(state.stopping, state.clock, actor.expires_at)


Live = Annotated[LiveStream, Depends(_live)]
LastEventId = Annotated[
    str | None,
    Header(max_length=200, description="The id of the last event that was read; what came after it follows."),
]
