"""Webhooks, called over real HTTP: signed, once each, and never what is inside."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Sequence
from ipaddress import ip_address

from shared.database import Database
from shared.events.notification import AlertDelivered, AlertSentToWebhook, Channel
from shared.outbound import Address
from tests.harness import ServiceUnderTest
from tests.notification.bank import (
    NOW,
    Watch,
    alert_closed,
    alert_raised,
    customer_changed,
    deliveries,
    manager_changed,
    run_job,
    told,
)
from tests.notification.receiver import Receiver, receiving, saying
from tests.notification.relay import ScriptedRelay, relaying
from tests.notification.webhooks.hooks import hook_of, hooking, put, remove, send, verify


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


async def test_what_waits_for_a_webhook_that_was_removed_is_cancelled(
    notification: ServiceUnderTest, receiver: Receiver
) -> None:
    await put(notification, receiver.url)
    raised = await told(notification)
    await remove(notification)
    await send(notification)
    delivery = await hook_of(notification, raised)
    assert (delivery["state"], delivery["code"], receiver.called) == ("cancelled", "webhook_off", [])


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
