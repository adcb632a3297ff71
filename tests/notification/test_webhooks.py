"""Webhooks, called over real HTTP: signed, tried again as mails are, and never an address of our own."""

import asyncio
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from typing import Any

import httpx
import pytest

from services.notification.app import notification_service
from services.notification.domain.retries import retry_after_seconds
from services.notification.settings import NotificationSettings
from services.notification.use_cases.attempts import Attempts
from shared.auth.principal import Principal
from shared.database import Database
from shared.events.notification import AlertDelivered, AlertSentToWebhook, Channel
from shared.outbound import Address, Resolver, resolve
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, branch_head, head_office, under_test
from tests.notification.bank import (
    M1,
    M2,
    NOW,
    ScriptedRelay,
    Watch,
    alert_closed,
    alert_raised,
    customer_changed,
    deliveries,
    get,
    manager_changed,
    relaying,
    run_job,
    told,
)
from tests.notification.receiver import Receiver, receiving, saying

LOOPBACK = {"webhooks": True, "webhook_networks": "127.0.0.0/8", "webhook_timeout_seconds": 1}


@pytest.fixture
async def database(new_database: NewDatabase) -> Database:
    return await new_database("notification")


@asynccontextmanager
async def hooking(
    database: Database, watch: Watch, *, resolver: Resolver = resolve, **settings: Any
) -> AsyncIterator[ServiceUnderTest]:
    stated = NotificationSettings(**{**LOOPBACK, **settings})
    service = notification_service("https://branchline.example", stated, clock=watch, resolver=resolver)
    async with under_test(service, database) as running:
        running.app.state.clock = watch
        yield running


@pytest.fixture
async def notification(database: Database, watch: Watch) -> AsyncIterator[ServiceUnderTest]:
    async with hooking(database, watch) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(Receiver()) as listening:
        yield listening


async def put(
    notification: ServiceUnderTest, url: object, who: Principal = M1, if_match: str | None = "*"
) -> httpx.Response:
    async with notification.http(who) as client:
        headers = {"If-Match": if_match} if if_match else {}
        return await client.put("/me/webhook", json={"url": url}, headers=headers)


async def remove(notification: ServiceUnderTest, if_match: str = "*") -> httpx.Response:
    async with notification.http(M1) as client:
        return await client.delete("/me/webhook", headers={"If-Match": if_match})


async def send(notification: ServiceUnderTest) -> None:
    await run_job(notification, "send_webhooks")


async def hook_of(notification: ServiceUnderTest, alert: Any, who: Principal = M1) -> Any:
    """The one delivery of the alert by webhook."""
    items = (await deliveries(notification, alert, who))["items"]
    (one,) = [item for item in items if item["channel"] == "webhook"]
    return one


def verify(secret: str, called: Any) -> None:
    """As the specification tells a receiver to, with nothing of ours."""
    headers = called.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + called.body
    digest = hmac.digest(b64decode(secret.removeprefix("whsec_"), validate=True), signed, "sha256")
    assert headers["webhook-signature"] == f"v1,{b64encode(digest).decode()}"


async def test_a_webhook_is_signed_and_tells_ids_and_codes_and_a_link(
    notification: ServiceUnderTest, receiver: Receiver
) -> None:
    secret = (await put(notification, receiver.url)).json()["secret"]
    raised = await told(notification)
    await send(notification)
    (called,) = receiver.called
    delivery = await hook_of(notification, raised)
    assert (delivery["state"], delivery["attempts"], delivery["delivered_at"]) == (
        "delivered",
        1,
        "2026-11-24T09:30:00Z",
    )
    assert called.path == "/alerts?token=path-secret"
    assert called.headers["content-type"] == "application/json"
    assert called.headers["webhook-id"] == delivery["delivery_id"]
    assert called.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert len(b64decode(secret.removeprefix("whsec_"))) == 32
    verify(secret, called)
    assert json.loads(called.body) == {
        "type": "churn_alert.raised",
        "timestamp": "2026-11-24T09:30:00Z",
        "data": {
            "alert_id": str(raised.alert_id),
            "customer_id": str(raised.customer_id),
            "raised_on": "2026-11-23",
            "points": 65,
            "reasons": [{"code": "card_quiet", "points": 40}, {"code": "salary_stopped", "points": 25}],
            "link": f"https://branchline.example/api/customer/v1/customers/{raised.customer_id}",
        },
    }
    (event,) = await notification.published(AlertSentToWebhook)
    assert (event.alert_id, event.manager_id, event.sent_at) == (raised.alert_id, "M1", NOW)


async def test_who_has_set_none_is_sent_none(notification: ServiceUnderTest) -> None:
    raised = await told(notification)
    items = (await deliveries(notification, raised))["items"]
    assert [item["channel"] for item in items] == ["email", "inbox"]


async def test_ones_webhook_is_read_set_and_removed_by_its_version(
    notification: ServiceUnderTest, receiver: Receiver
) -> None:
    none = await get(notification, "/me/webhook")
    assert none.json() == {"url": None, "set_at": None, "switched_off_at": None, "code": None}
    assert (await put(notification, receiver.url, if_match=None)).status_code == 428
    was_set = await put(notification, receiver.url, if_match=none.headers["ETag"])
    assert was_set.status_code == 200, was_set.text
    read = await get(notification, "/me/webhook")
    assert read.json() == {name: value for name, value in was_set.json().items() if name != "secret"}
    assert (read.json()["url"], read.json()["set_at"]) == (receiver.url, "2026-11-24T09:30:00Z")
    assert read.headers["ETag"] == was_set.headers["ETag"]
    assert (await put(notification, receiver.url, if_match=none.headers["ETag"])).json()["code"] == "stale_version"
    again = await put(notification, receiver.url, if_match=read.headers["ETag"])
    assert again.json()["secret"] != was_set.json()["secret"]
    assert (await remove(notification, read.headers["ETag"])).status_code == 412
    removed = await remove(notification, again.headers["ETag"])
    assert removed.json() == none.json()
    assert removed.headers["ETag"] not in (none.headers["ETag"], again.headers["ETag"])


async def test_nobody_reads_or_changes_anothers(notification: ServiceUnderTest, receiver: Receiver) -> None:
    mine = (await put(notification, receiver.url)).json()
    for other in (M2, branch_head("B1"), head_office()):
        assert (await get(notification, "/me/webhook", other)).json()["url"] is None
        assert (await put(notification, receiver.url, other)).status_code == 200
    assert (await get(notification, "/me/webhook")).json()["set_at"] == mine["set_at"]
    await told(notification)
    await send(notification)
    verify(mine["secret"], receiver.called[0])
    async with notification.database.requests.begin() as connection:
        await connection.exec_driver_sql("select set_config('branchline.staff_id', 'M2', true)")
        seen = await connection.exec_driver_sql("select staff_id from webhook")
        assert [tuple(row) for row in seen] == [("M2",)]


async def test_neither_address_nor_secret_is_in_the_database_or_the_log(
    notification: ServiceUnderTest,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    receiver.answer = saying("404 Not Found")
    secret = (await put(notification, receiver.url)).json()["secret"]
    await told(notification)
    await send(notification)
    kept = b"".join(bytes(sealed) for (sealed,) in await notification.rows("select sealed from webhook"))
    raw = b64decode(secret.removeprefix("whsec_"))
    assert not [found for found in (raw, b"path-secret", b"127.0.0.1") if found in kept]
    tables = await notification.rows(
        "select w::text, (select string_agg(a::text, '') from audit_record a) from webhook w"
    )
    written = f"{tables}{caplog.text}{capsys.readouterr().out}"
    assert "delivery_failed" in written
    assert not [found for found in (secret, raw.hex(), "path-secret") if found in written]


REFUSED = {
    "https://10.0.0.1/": "not_public",
    "https://169.254.169.254/latest/meta-data/": "not_public",
    "https://[::1]/": "not_public",
    "https://user:password@hook.example/": "has_credentials",
    "https://2130706433/": "odd_address",
    "http://93.184.216.34/": "not_https",
    "https://93.184.216.34:22/": "not_https",
    "ftp://93.184.216.34/": "not_a_url",
    "nothing": "not_a_url",
    f"https://{'a' * 64}.example/": "not_a_url",
    "https://nobody.invalid/": "not_public",
    "https://inside.bank.example/": "not_public",
}


async def test_an_address_of_our_own_is_refused_when_it_is_set(database: Database, watch: Watch) -> None:
    async def resolver(host: str, port: int) -> Sequence[Address]:
        if host == "nobody.invalid":
            raise OSError("Name or service not known")
        return [ip_address("192.168.7.7")] if host == "inside.bank.example" else await resolve(host, port)

    async with hooking(database, watch, webhook_networks="", resolver=resolver) as notification:
        for url, code in REFUSED.items():
            refused = await put(notification, url)
            assert (refused.status_code, refused.json()["code"]) == (422, "webhook_target_refused"), url
            (error,) = refused.json()["errors"]
            assert (error["in"], error["pointer"], error["code"]) == ("body", "/url", code), url
        assert (await get(notification, "/me/webhook")).json()["url"] is None


async def test_loopback_is_called_only_where_the_operator_allows_it(
    database: Database, watch: Watch, receiver: Receiver
) -> None:
    async with hooking(database, watch) as allowing:
        assert (await put(allowing, receiver.url)).status_code == 200
        raised = await told(allowing)
    async with hooking(database, watch, webhook_networks="10.0.0.0/8") as notification:
        assert (await put(notification, receiver.url)).json()["errors"][0]["code"] == "not_public"
        await send(notification)
        delivery = await hook_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == ("failed", "not_public")
    assert receiver.called == []


async def test_a_name_that_leads_inside_later_is_not_called(
    database: Database, watch: Watch, receiver: Receiver
) -> None:
    """DNS rebinding: what was public when it was set, and checked, is loopback when it is called."""
    answers = [ip_address("93.184.216.34"), ip_address("127.0.0.1")]

    async def resolver(_host: str, _port: int) -> Sequence[Address]:
        return [answers.pop(0)]

    async with hooking(database, watch, webhook_networks="", resolver=resolver) as notification:
        assert (await put(notification, "https://hook.example/")).status_code == 200
        raised = await told(notification)
        await send(notification)
        delivery = await hook_of(notification, raised)
        assert (delivery["state"], delivery["code"], answers) == ("failed", "not_public", [])
    assert receiver.called == []


async def test_a_redirect_to_what_is_inside_is_not_followed(notification: ServiceUnderTest, receiver: Receiver) -> None:
    async with receiving(Receiver()) as inside:
        receiver.answer = saying(f"307 Moved\r\nlocation: {inside.url}")
        await put(notification, receiver.url)
        raised = await told(notification)
        await send(notification)
        delivery = await hook_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == ("failed", "http_307")
        assert (len(receiver.called), inside.called) == (1, [])


async def test_a_slow_receiver_is_given_up_and_holds_up_nobody_else(
    notification: ServiceUnderTest, receiver: Receiver
) -> None:
    async def slowly() -> str:
        await asyncio.sleep(30)
        return "200 OK"

    async with receiving(Receiver(answer=slowly)) as slow:
        await put(notification, slow.url)
        await put(notification, receiver.url, M2)
        customers = [customer_changed(manager_id=manager) for manager in ("M1", "M1", "M1", "M2")]
        await notification.deliver([manager_changed("M1"), manager_changed("M2"), *customers])
        await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
        sending = asyncio.ensure_future(send(notification))
        async with asyncio.timeout(5):
            while not receiver.called:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert not sending.done(), "the slow one is waited for, and others are not"
        await asyncio.wait_for(sending, 5)
        assert len(slow.called) == 1
    states = await notification.rows(
        "select staff_id, attempts, state, code, count(*) from delivery where channel = 'webhook' group by 1, 2, 3, 4"
        " order by 1, 2"
    )
    assert states == [
        ("M1", 0, "pending", None, 2),
        ("M1", 1, "pending", "timeout", 1),
        ("M2", 1, "delivered", None, 1),
    ]


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


async def test_each_channel_sends_its_own(database: Database, watch: Watch, receiver: Receiver) -> None:
    relay = ScriptedRelay()
    async with (
        relaying(relay) as port,
        hooking(database, watch, smtp_port=port, smtp_tls="none") as notification,
    ):
        await put(notification, receiver.url)
        await told(notification)
        await run_job(notification, "send_mails")
        assert (len(relay.accepted), len(receiver.called)) == (1, 0)
        await send(notification)
        assert (len(relay.accepted), len(receiver.called)) == (1, 1)
        channels = [event.channel for event in await notification.published(AlertDelivered)]
        assert channels == [Channel.INBOX, Channel.EMAIL]
        assert len(await notification.published(AlertSentToWebhook)) == 1


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


async def test_what_waits_for_a_webhook_that_was_removed_is_cancelled(
    notification: ServiceUnderTest, receiver: Receiver
) -> None:
    await put(notification, receiver.url)
    raised = await told(notification)
    await remove(notification)
    await send(notification)
    delivery = await hook_of(notification, raised)
    assert (delivery["state"], delivery["code"], receiver.called) == ("cancelled", "webhook_off", [])


async def test_a_channel_that_is_off_sends_and_takes_nothing(
    database: Database, watch: Watch, receiver: Receiver
) -> None:
    async with hooking(database, watch) as notification:
        await put(notification, receiver.url)
        raised = await told(notification)
    async with hooking(database, watch, webhooks=False) as notification:
        refused = await put(notification, receiver.url)
        assert (refused.status_code, refused.json()["code"]) == (409, "webhooks_off")
        await send(notification)
        delivery = await hook_of(notification, raised)
        assert (delivery["state"], delivery["code"], receiver.called) == ("cancelled", "webhook_off", [])
        assert (await remove(notification)).json()["url"] is None
    assert NotificationSettings().webhooks is False, "the operator switches it on"


async def test_nobody_is_sent_an_alert_that_is_closed_or_of_a_customer_they_have_handed_over(
    notification: ServiceUnderTest, receiver: Receiver
) -> None:
    await put(notification, receiver.url)
    closed, handed_over = await told(notification), await told(notification)
    await notification.deliver([alert_closed(closed)])
    change = customer_changed(handed_over.customer_id, revision=2, manager_id="M2")
    await notification.deliver([manager_changed("M2"), change])
    restricted = await told(notification)
    await notification.deliver([customer_changed(restricted.customer_id, revision=2, restricted=True)])
    await send(notification)
    states = await notification.rows("select state, code from delivery where channel = 'webhook' order by code")
    assert states == [("cancelled", "alert_closed"), ("cancelled", "reassigned"), ("cancelled", "restricted")]
    assert receiver.called == []


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


async def test_senders_at_the_same_moment_call_once(notification: ServiceUnderTest, receiver: Receiver) -> None:
    await put(notification, receiver.url)
    customers = [customer_changed() for _ in range(10)]
    await notification.deliver([manager_changed(), *customers])
    await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
    await asyncio.gather(send(notification), send(notification))
    assert len({called.headers["webhook-id"] for called in receiver.called}) == len(receiver.called) == 10


async def test_each_attempt_is_in_the_audit(notification: ServiceUnderTest, receiver: Receiver) -> None:
    receiver.answer = saying("500 Oops")
    await put(notification, receiver.url)
    raised = await told(notification)
    await send(notification)
    rows = await notification.rows("select action, customer_ids from audit_record where operation = 'job'")
    assert rows == [("change", [raised.customer_id])]
