"""Webhooks that were not taken are tried again as mails are, and nobody is called who has had enough."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from services.notification.domain.retries import retry_after_seconds
from services.notification.use_cases.attempts import Attempts
from shared.database import Database
from shared.events.notification import AlertSentToWebhook
from tests.harness import ServiceUnderTest
from tests.notification.bank import (
    M2,
    NOW,
    Watch,
    alert_raised,
    customer_changed,
    deliveries,
    eventually,
    get,
    manager_changed,
    told,
)
from tests.notification.receiver import Receiver, receiving, saying
from tests.notification.webhooks.hooks import hook_of, hooking, put, send, verify


async def test_a_slow_receiver_holds_up_nobody_else(notification: ServiceUnderTest, receiver: Receiver) -> None:
    is_let_go = asyncio.Event()

    async def slowly() -> str:
        await is_let_go.wait()
        return "200 OK"

    async with receiving(Receiver(answer=slowly)) as slow:
        await put(notification, slow.url)
        await put(notification, receiver.url, M2)
        await raise_alerts(notification, "M1", "M1", "M1", "M2")
        sending = asyncio.ensure_future(send(notification))
        await eventually(lambda: bool(receiver.called))
        assert not sending.done(), "the slow one is waited for, and others are not"
        is_let_go.set()
        await sending
    assert await attempts(notification) == [("M1", 1, "delivered", None, 3), ("M2", 1, "delivered", None, 1)]


async def test_a_receiver_that_does_not_answer_is_given_up_and_its_others_wait(
    database: Database, watch: Watch
) -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async with (
        receiving(Receiver(answer=never)) as silent,
        hooking(database, watch, webhook_timeout_seconds=0.3) as notification,
    ):
        await put(notification, silent.url)
        await raise_alerts(notification, "M1", "M1", "M1")
        await send(notification)
        assert await attempts(notification) == [("M1", 0, "pending", None, 2), ("M1", 1, "pending", "timeout", 1)]


async def raise_alerts(notification: ServiceUnderTest, *manager_ids: str) -> None:
    """One of a customer of each of these."""
    customers = [customer_changed(manager_id=manager_id) for manager_id in manager_ids]
    await notification.deliver([*map(manager_changed, sorted(set(manager_ids))), *customers])
    await notification.deliver([alert_raised(customer.customer_id) for customer in customers])


async def attempts(notification: ServiceUnderTest) -> list[tuple[Any, ...]]:
    """Whose deliveries, attempts, state, code, and how many of them."""
    return await notification.rows(
        "select staff_id, attempts, state, code, count(*) from delivery where channel = 'webhook' group by 1, 2, 3, 4"
        " order by 1, 2"
    )


@pytest.mark.parametrize("answer", ["500 Oops", "408 Request Timeout", ""])
async def test_what_is_refused_for_now_is_sent_later_as_the_same_message(
    notification: ServiceUnderTest, receiver: Receiver, watch: Watch, answer: str
) -> None:
    receiver.answer = saying(answer, "200 OK")
    secret = (await put(notification, receiver.url)).json()["secret"]
    raised = await told(notification)
    await send(notification)
    delivery = await hook_of(notification, raised)
    code = f"http_{answer[:3]}" if answer else "connection_lost"
    assert (delivery["state"], delivery["attempts"], delivery["code"]) == ("pending", 1, code)
    wait = datetime.fromisoformat(delivery["next_attempt_at"]) - NOW
    assert timedelta(seconds=2.5) <= wait <= timedelta(seconds=5)
    watch.forward(seconds=5)
    await send(notification)
    assert (await hook_of(notification, raised))["state"] == "delivered"
    first, second = receiver.called
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert second.headers["webhook-timestamp"] == str(int(watch.now.timestamp()))
    verify(secret, first)
    verify(secret, second)


async def test_what_is_refused_for_good_has_failed(
    notification: ServiceUnderTest, receiver: Receiver, watch: Watch
) -> None:
    answers = ["302 Found", "400 Bad Request", "401 Unauthorized", "404 Not Found"]
    receiver.answer = saying(*answers, "200 OK")
    await put(notification, receiver.url)
    for _ in answers:
        await told(notification)
        await send(notification)
    watch.forward(days=1)
    await send(notification)
    failed = await notification.rows("select state, code from delivery where channel = 'webhook' order by code")
    assert failed == [("failed", f"http_{answer[:3]}") for answer in answers]
    assert len(receiver.called) == len(answers)


async def test_who_has_had_enough_is_left_alone_for_as_long_as_they_ask(
    notification: ServiceUnderTest, receiver: Receiver, watch: Watch
) -> None:
    receiver.answer = saying("429 Too Many Requests\r\nretry-after: 3600", "200 OK")
    await put(notification, receiver.url)
    await told(notification)
    await told(notification)
    await send(notification)
    watch.forward(minutes=59)
    await send(notification)
    assert len(receiver.called) == 1, "the other one waits as well, and keeps its attempts"
    watch.forward(minutes=1)
    await send(notification)
    assert len({called.headers["webhook-id"] for called in receiver.called}) == 2
    assert await notification.rows(
        "select attempts, state from delivery where channel = 'webhook' order by attempts"
    ) == [(1, "delivered"), (2, "delivered")]


def test_a_retry_after_is_seconds_or_an_instant_and_believed_up_to_a_limit() -> None:
    stated = {
        "120": 120,
        format_datetime(NOW + timedelta(minutes=3), usegmt=True): 180,
        format_datetime(NOW - timedelta(minutes=3), usegmt=True): 0,
        "999999999999999999999999": 86_400,
        **dict.fromkeys(("", "-5", "soon", "٣", "Tue, 99 Nov 2026 09:30:00 GMT", "2026-11-24"), 0),
    }
    assert {text: retry_after_seconds(text, NOW, most=86_400) for text in stated} == stated
    assert retry_after_seconds(None, datetime.now(UTC), most=1) == 0


async def test_a_receiver_that_is_gone_is_called_no_more_until_it_is_set_again(
    notification: ServiceUnderTest, receiver: Receiver, watch: Watch
) -> None:
    receiver.answer = saying("410 Gone", "200 OK")
    await put(notification, receiver.url)
    raised, other = await told(notification), await told(notification)
    await send(notification)
    states = sorted(
        (item["state"], item["code"])
        for item in [await hook_of(notification, raised), await hook_of(notification, other)]
    )
    assert states == [("cancelled", "webhook_off"), ("failed", "http_410")]
    read = await get(notification, "/me/webhook")
    assert (read.json()["url"], read.json()["switched_off_at"], read.json()["code"]) == (
        receiver.url,
        "2026-11-24T09:30:00Z",
        "http_410",
    )
    third = await told(notification)
    assert "webhook" not in {item["channel"] for item in (await deliveries(notification, third))["items"]}
    assert (await put(notification, receiver.url, if_match=read.headers["ETag"])).json()["switched_off_at"] is None
    await told(notification)
    await send(notification)
    assert len(receiver.called) == 2


async def test_what_was_set_anew_while_the_old_one_was_called_stays_on(
    notification: ServiceUnderTest, receiver: Receiver
) -> None:
    async def gone_by_now() -> str:
        assert (await put(notification, "http://127.0.0.1:1/new")).status_code == 200
        return "410 Gone"

    receiver.answer = gone_by_now
    await put(notification, receiver.url)
    await told(notification)
    await send(notification)
    assert (await get(notification, "/me/webhook")).json()["switched_off_at"] is None


async def test_a_sender_that_dies_after_the_call_sends_the_same_message_again(
    notification: ServiceUnderTest, receiver: Receiver, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(notification, receiver.url)
    await told(notification)

    class Killed(BaseException):
        """As kill -9 does: nothing is recorded."""

    async def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Attempts, "record", die)
        with pytest.raises(BaseExceptionGroup):
            await send(notification)
    await send(notification)
    assert len(receiver.called) == 1, "the lease of the dead is not over"
    watch.forward(minutes=2)
    await send(notification)
    first, second = receiver.called
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert len(await notification.published(AlertSentToWebhook)) == 1
