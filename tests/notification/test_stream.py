"""The stream, as a reader on the other side of a real server sees it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import text

from services.notification.routes import inbox as routes
from services.notification.use_cases import alerts
from services.notification.use_cases.changes import InboxBell
from services.serving import end_streams
from shared.auth.principal import Principal
from shared.events import Delivery
from shared.events.customer import CustomerChanged
from shared.ids import new_id
from tests.harness import ServiceUnderTest
from tests.notification.bank import (
    M1,
    M2,
    NOW,
    Watch,
    alert_closed,
    alert_raised,
    customer_changed,
    get,
    inbox,
    manager_changed,
    notifying,
    post,
    serving,
    told,
)

SOON = 3.0
"""Seconds; far less than the time after which a stream looks by itself."""


class Told(NamedTuple):
    event: str
    id: int
    data: Any


class Reader:
    def __init__(self) -> None:
        self._heard: asyncio.Queue[Told | None] = asyncio.Queue()

    async def read(self, answer: httpx.Response) -> None:
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line and name:
                fields[name] = value
            elif fields:
                self._heard.put_nowait(Told(fields["event"], int(fields["id"]), json.loads(fields.get("data", "null"))))
                fields = {}
        self._heard.put_nowait(None)

    async def next(self) -> Told:
        told = await asyncio.wait_for(self._heard.get(), SOON)
        assert told is not None, "the stream has ended"
        return told

    async def hears_nothing(self) -> None:
        await asyncio.sleep(0.5)
        assert self._heard.empty()

    async def end(self) -> None:
        """Fails unless the stream ends soon."""
        assert await asyncio.wait_for(self._heard.get(), SOON) is None


@asynccontextmanager
async def reading(
    notification: ServiceUnderTest, url: str, who: Principal = M1, last: int | None = None
) -> AsyncIterator[Reader]:
    headers = dict(notification.http(who).headers)
    if last is not None:
        headers["Last-Event-ID"] = str(last)
    async with (
        httpx.AsyncClient(headers=headers, timeout=10) as client,
        client.stream("GET", f"{url}/inbox/stream") as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        reader = Reader()
        task = asyncio.create_task(reader.read(answer))
        try:
            yield reader
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_reader_is_told_where_they_are_and_then_what_changes_at_once(notification: ServiceUnderTest) -> None:
    await told(notification)
    async with serving(notification) as url, reading(notification, url) as reader:
        assert await reader.next() == ("position", 1, None)
        raised = await told(notification)
        new = await reader.next()
        assert (new.event, new.id, new.data["alert_id"]) == ("inbox_item", 2, str(raised.alert_id))
        assert new.data == (await get(notification, f"/inbox/{new.data['item_id']}")).json()
        await post(notification, f"/inbox/{new.data['item_id']}/acknowledge")
        changed = await reader.next()
        assert (changed.id, changed.data["state"]) == (3, "acknowledged")
        await notification.deliver([alert_closed(raised)])
        closed = await reader.next()
        assert (closed.id, closed.data["state"], closed.data["closure"]) == (4, "closed", "outcome")


async def test_who_was_cut_off_is_told_what_changed_since_each_item_once(notification: ServiceUnderTest) -> None:
    first, second, third = [await told(notification) for _ in range(3)]
    items = {item["alert_id"]: item["item_id"] for item in await inbox(notification)}
    async with serving(notification) as url:
        async with reading(notification, url, last=1) as reader:
            assert (await reader.next()).id == 1
            assert [(await reader.next()).data["alert_id"] for _ in range(2)] == [
                str(second.alert_id),
                str(third.alert_id),
            ]
        await post(notification, f"/inbox/{items[str(first.alert_id)]}/acknowledge")
        await post(notification, f"/inbox/{items[str(second.alert_id)]}/acknowledge")
        await notification.deliver([alert_closed(second)])
        async with reading(notification, url, last=3) as reader:
            assert (await reader.next()).event == "position"
            replayed = [await reader.next() for _ in range(2)]
            assert [(item.id, item.data["alert_id"], item.data["state"]) for item in replayed] == [
                (4, str(first.alert_id), "acknowledged"),
                (6, str(second.alert_id), "closed"),
            ]
            await reader.hears_nothing()


async def test_a_long_absence_is_replayed_whole(notification: ServiceUnderTest) -> None:
    customers = [customer_changed() for _ in range(routes.CHANGES_AT_ONCE + 20)]
    await notification.deliver([manager_changed(), *customers])
    await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
    async with serving(notification) as url, reading(notification, url, last=0) as reader:
        await reader.next()
        assert [(await reader.next()).id for _ in customers] == list(range(1, len(customers) + 1))


async def test_what_commits_late_is_not_skipped(notification: ServiceUnderTest) -> None:
    """Two deliveries to one inbox at the same moment: the one that is numbered first commits last."""
    slow, quick = customer_changed(), customer_changed()
    await notification.deliver([manager_changed(), slow, quick])
    async with serving(notification) as url, reading(notification, url) as reader:
        await reader.next()
        first = alert_raised(slow.customer_id)
        async with notification.database.transaction() as delivering:
            await alerts.record_alerts(delivering, [Delivery(new_id(), first, NOW)], NOW)
            second = alert_raised(quick.customer_id)
            overtaking = asyncio.create_task(notification.deliver([second]))
            await asyncio.sleep(0.5)
        await overtaking
        heard = [await reader.next() for _ in range(2)]
        assert [(change.id, change.data["alert_id"]) for change in heard] == [
            (1, str(first.alert_id)),
            (2, str(second.alert_id)),
        ]


async def test_a_reader_hears_of_their_own_inbox_only(notification: ServiceUnderTest) -> None:
    await notification.deliver([manager_changed("M2")])
    async with (
        serving(notification) as url,
        reading(notification, url, M1) as mine,
        reading(notification, url, M2) as theirs,
    ):
        assert ((await mine.next()).id, (await theirs.next()).id) == (0, 0)
        raised = await told(notification)
        assert (await mine.next()).data["alert_id"] == str(raised.alert_id)
        await theirs.hears_nothing()
        await notification.deliver([customer_changed(raised.customer_id, revision=2, manager_id="M2")])
        assert (await theirs.next()).data["alert_id"] == str(raised.alert_id)


async def test_a_reader_hears_nothing_of_a_customer_whom_somebody_else_looks_after_now(
    notification: ServiceUnderTest,
) -> None:
    customer = customer_changed()
    raised = alert_raised(customer.customer_id)
    await notification.deliver([manager_changed("M1"), customer, raised])
    async with serving(notification) as address, reading(notification, address) as reader:
        assert (await reader.next()).event == "position"
        await notification.deliver([replace_manager(customer)])
        await notification.deliver([alert_closed(raised)])
        await reader.hears_nothing()
    ((sequence,),) = await notification.rows("select sequence from inbox_item")
    assert sequence == 2, "there was something to tell"


def replace_manager(customer: CustomerChanged) -> CustomerChanged:
    return customer_changed(customer.customer_id, revision=2, manager_id="M2")


async def test_a_change_by_another_replica_is_heard_at_once(notification: ServiceUnderTest, watch: Watch) -> None:
    async with (
        notifying(notification.database, watch) as other,
        serving(notification) as url,
        reading(notification, url) as reader,
    ):
        await reader.next()
        raised = await told(other)
        assert (await reader.next()).data["alert_id"] == str(raised.alert_id)


LISTENERS = "pg_stat_activity where query = 'listen inbox_changed' and datname = current_database()"


async def of_listeners(notification: ServiceUnderTest, what: str) -> Any:
    """Asked as the role that listens: others do not see what it does."""
    async with notification.database.requests.connect() as connection:
        return await connection.scalar(text(f"select {what} from {LISTENERS}"))


async def test_a_process_listens_on_one_connection_and_only_while_somebody_reads(
    notification: ServiceUnderTest,
) -> None:
    async with serving(notification) as url:
        async with (
            reading(notification, url) as one,
            reading(notification, url, M2) as other,
            reading(notification, url),
        ):
            await asyncio.gather(one.next(), other.next())
            await asyncio.sleep(0.3)
            assert await of_listeners(notification, "count(*)") == 1
        await asyncio.sleep(0.3)
        assert await of_listeners(notification, "count(*)") == 0


async def test_a_lost_listening_connection_is_opened_again(notification: ServiceUnderTest) -> None:
    async with serving(notification) as url, reading(notification, url) as reader:
        await reader.next()
        await asyncio.sleep(0.3)
        assert await of_listeners(notification, "count(pg_terminate_backend(pid))") == 1
        await asyncio.sleep(0.1)
        for _ in range(2):
            raised = await told(notification)
            assert (await reader.next()).data["alert_id"] == str(raised.alert_id)
        assert await of_listeners(notification, "count(*)") == 1


async def test_a_stream_that_no_notification_reaches_looks_by_itself(
    notification: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "LOOK_EVERY_SECONDS", 0.2)
    monkeypatch.setattr(InboxBell, "_ring", lambda *_: None)
    async with serving(notification) as url, reading(notification, url) as reader:
        await reader.next()
        raised = await told(notification)
        assert (await reader.next()).data["alert_id"] == str(raised.alert_id)


async def test_the_stream_ends_with_its_token(notification: ServiceUnderTest, watch: Watch) -> None:
    who = replace(M1, expires_at=NOW + timedelta(seconds=60))
    async with serving(notification) as url, reading(notification, url, who) as reader:
        await reader.next()
        watch.forward(seconds=60)
        await told(notification)  # wakes it
        await reader.end()


async def test_the_stream_ends_when_the_service_is_told_to_stop(notification: ServiceUnderTest) -> None:
    async with serving(notification) as url, reading(notification, url) as reader:
        await reader.next()
        end_streams(notification.app)
        await reader.end()


@pytest.mark.parametrize("last", ["abc", "-1", "1.5", "9" * 30, "²"])
async def test_an_id_that_is_none_of_the_streams_is_refused(notification: ServiceUnderTest, last: str) -> None:
    async with notification.http(M1) as client:
        answer = await client.get("/inbox/stream", headers=[(b"Last-Event-ID", last.encode())])
    assert (answer.status_code, answer.json()["errors"][0]["in"]) == (422, "header")


async def test_an_id_of_a_future_that_was_lost_begins_at_the_present(notification: ServiceUnderTest) -> None:
    """After a restore from a backup numbers are given again."""
    await told(notification)
    async with serving(notification) as url, reading(notification, url, last=50) as reader:
        assert (await reader.next()).id == 1
        await told(notification)
        assert (await reader.next()).id == 2
