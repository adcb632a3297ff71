"""The inbox: listed, read, acknowledged, put off, and streamed as it changes."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services.notification.errors import InboxItemClosed, InboxItemNotFound
from services.notification.models import InboxItem, ItemState
from services.notification.schemas import InboxCount, InboxItemRead, ReasonRead, Snooze
from services.notification.use_cases import inbox
from services.notification.use_cases.changes import InboxBell
from services.notification.use_cases.inbox import Shown
from shared.auth.dependencies import StaffId, members_of_staff
from shared.events.scoring import AlertEnding
from shared.web.etag import ReadTag, entity_tag
from shared.web.paging import Ordering, Page, PageRequest
from shared.web.problems import problems
from shared.web.refusals import InvalidInput
from shared.web.sse import LastEventId, Live
from shared.web.transaction import Session, Sessions, service_router

CHANGES_AT_ONCE = 100
LOOK_EVERY_SECONDS = 15.0
"""How often a stream looks by itself, should the database's notification not have reached it."""
RECONNECT_AFTER_MS = 2_000

STREAM_EXAMPLE = (
    "event: position\nid: 41\nretry: 2000\n\n"
    'event: inbox_item\ndata: {"item_id": "019ab5c2-7d2e-7e3b-9a55-1f0c7a4e2b10", "state": "open", ...}\nid: 42\n\n'
)

orderings = Ordering({"created_at": InboxItem.created_at}, default="-created_at", tie=InboxItem.item_id)


def _last_seen(last_event_id: LastEventId = None) -> int | None:
    if last_event_id is None:
        return None
    if not (last_event_id.isascii() and last_event_id.isdecimal() and len(last_event_id) <= 18):
        raise InvalidInput.at("/Last-Event-ID", "invalid_last_event_id", "Is an id of this stream", where="header")
    return int(last_event_id)


ItemId = Annotated[UUID, Path(description="The item's `item_id`.")]
LastSeen = Annotated[int | None, Depends(_last_seen)]


def inbox_router(bell: InboxBell) -> APIRouter:
    router = service_router(tag="inbox", dependencies=[members_of_staff])

    @router.get("/inbox")
    async def list_inbox(
        session: Session,
        staff_id: StaffId,
        page: Annotated[PageRequest, Depends(orderings)],
        state: Annotated[
            list[ItemState] | None, Query(description="Only items in this state; may be repeated.")
        ] = None,
    ) -> Page[InboxItemRead]:
        """Your inbox, the newest first: alerts of customers that you look after."""
        return await page.of(session, inbox.shown_items(staff_id, state or ()), lambda row: _read(Shown(*row[:3])))

    @router.get("/inbox/count")
    async def count_inbox(session: Session, staff_id: StaffId) -> InboxCount:
        """How many items of your inbox want something; `open` is the number for a badge."""
        counts = await inbox.count_inbox(session, staff_id)
        return InboxCount(
            open=counts.get(ItemState.OPEN, 0),
            snoozed=counts.get(ItemState.SNOOZED, 0),
            acknowledged=counts.get(ItemState.ACKNOWLEDGED, 0),
        )

    @router.get(
        "/inbox/stream",
        response_class=EventSourceResponse,
        responses={200: {"content": {"text/event-stream": {"example": STREAM_EXAMPLE}}}},
    )
    async def stream_inbox(
        request: Request, staff_id: StaffId, live: Live, sessions: Sessions, last_seen: LastSeen
    ) -> AsyncIterator[ServerSentEvent]:
        """Your inbox as it changes, as Server-Sent Events.

        It begins with `position`, whose id is where you are: what is listed after you have read it misses nothing.
        Then an `inbox_item` for every item that changes, as it is by then. Send the last id that you have read as
        `Last-Event-ID` and what has changed since follows, each item once with its latest state. Ends with your token.
        """
        try:
            async with bell.listen(request.app.state.database.requests.url, staff_id) as rung:
                async with sessions() as session:
                    last = await inbox.last_change(session, staff_id)
                seen = last if last_seen is None else min(last_seen, last)
                yield ServerSentEvent(event="position", id=str(seen), retry=RECONNECT_AFTER_MS)
                while live:
                    rung.clear()
                    async with sessions() as session:
                        changes = await inbox.changes_after(session, staff_id, seen, limit=CHANGES_AT_ONCE)
                    for shown in changes:
                        seen = shown.item.sequence
                        yield ServerSentEvent(event="inbox_item", id=str(seen), data=_read(shown))
                    if len(changes) < CHANGES_AT_ONCE:
                        await live.pause(LOOK_EVERY_SECONDS, until=rung)
        except (DBAPIError, PoolTimeout):
            return  # the reader comes back after RECONNECT_AFTER_MS and reads on

    @router.get("/inbox/{item_id}", responses=problems(InboxItemNotFound))
    async def read_inbox_item(item_id: ItemId, session: Session, staff_id: StaffId, tag: ReadTag) -> InboxItemRead:
        """One item of your inbox."""
        shown = await inbox.get_item(session, staff_id, item_id)
        tag.show(shown.item.sequence)
        return _read(shown)

    @router.post(
        "/inbox/{item_id}/acknowledge",
        responses=problems(InboxItemNotFound, InboxItemClosed),
    )
    async def acknowledge_item(
        item_id: ItemId, request: Request, response: Response, session: Session, staff_id: StaffId
    ) -> InboxItemRead:
        """Says that you have seen the alert and take care of it. Doing it again changes nothing."""
        shown = await inbox.acknowledge_item(session, staff_id, item_id, request.app.state.clock())
        response.headers["ETag"] = entity_tag(shown.item.sequence)
        return _read(shown)

    @router.post(
        "/inbox/{item_id}/snooze",
        responses=problems(InboxItemNotFound, InboxItemClosed),
    )
    async def snooze_item(
        item_id: ItemId, body: Snooze, request: Request, response: Response, session: Session, staff_id: StaffId
    ) -> InboxItemRead:
        """Puts the item off; it is open again at that time. Doing it again changes nothing."""
        shown = await inbox.snooze_item(session, staff_id, item_id, body.until, request.app.state.clock())
        response.headers["ETag"] = entity_tag(shown.item.sequence)
        return _read(shown)

    return router


def _read(shown: Shown) -> InboxItemRead:
    item, alert, customer_number = shown
    assert alert.raised_on is not None  # what lies in an inbox was raised
    assert alert.points is not None
    return InboxItemRead(
        item_id=item.item_id,
        alert_id=item.alert_id,
        customer_id=item.customer_id,
        customer_number=customer_number,
        raised_on=alert.raised_on,
        points=alert.points,
        reasons=[ReasonRead.model_validate(reason) for reason in alert.reasons],
        state=ItemState(item.state),
        created_at=item.created_at,
        acknowledged_at=item.acknowledged_at,
        snoozed_until=item.snoozed_until,
        closed_at=alert.closed_at,
        closure=AlertEnding(alert.closure) if alert.closure else None,
    )
