"""Mails, in real SMTP conversations: what they tell, whom, and each once."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.database import Database
from shared.events.notification import AlertDelivered, Channel
from shared.mail_sink import kept_mails, smtp_sink
from shared.settings import Environment
from tests.notification.bank import (
    Watch,
    alert_closed,
    alert_raised,
    customer_changed,
    mail_of,
    manager_changed,
    notifying,
    told,
)
from tests.notification.relay import ScriptedRelay, body, mailing, parse, send_mails


async def test_a_mail_tells_the_number_the_reasons_and_a_link_and_no_name(
    database: Database, watch: Watch, tmp_path: Path
) -> None:
    async with (
        smtp_sink(environment=Environment.DEMO, folder=tmp_path) as port,
        notifying(database, watch, smtp_port=port, smtp_from="alerts@bank.example") as notification,
    ):
        raised = await told(notification)
        await send_mails(notification)
        (kept,) = kept_mails(tmp_path)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)
        assert delivery["delivered_at"] == "2026-11-24T09:30:00Z"
        mail = parse(kept.path.read_bytes())
        assert mail["To"] == "m1@bank.example"
        assert mail["From"] == "alerts@bank.example"
        assert mail["Subject"] == "Customer 10004217 may leave: 65 points"
        assert mail["Message-ID"] == f"<{delivery['delivery_id']}@bank.example>"
        assert mail["Auto-Submitted"] == "auto-generated"
        plain, html = body(mail, "plain"), body(mail, "html")
        link = f"https://branchline.example/api/customer/v1/customers/{raised.customer_id}"
        assert "- The card was used <2> times & then no more. (40 points)" in plain
        assert "- No salary has arrived for 43 days. (25 points)" in plain
        assert link in plain
        assert "The card was used &lt;2&gt; times &amp; then no more. (40 points)" in html
        assert f'<a href="{link}">' in html
    inbox_event, mail_event = await notification.published(AlertDelivered)
    assert (inbox_event.channel, mail_event.channel) == (Channel.INBOX, Channel.EMAIL)
    assert (mail_event.alert_id, mail_event.manager_id) == (raised.alert_id, "M1")


async def test_a_mail_links_where_the_bank_says(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    url = "https://workbench.bank.example/customer?id={customer_id}"
    async with mailing(database, watch, relay, customer_url=url) as notification:
        raised = await told(notification)
        await send_mails(notification)
    assert url.format(customer_id=raised.customer_id) in body(parse(relay.accepted[0]), "plain")


async def test_many_mails_go_over_one_connection_each_once(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        customers = [customer_changed() for _ in range(20)]
        await notification.deliver([manager_changed(), *customers])
        await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
        await send_mails(notification)
        await send_mails(notification)
    assert relay.connections == 1
    assert len({parse(mail)["Message-ID"] for mail in relay.accepted}) == len(relay.accepted) == 20


async def test_senders_at_the_same_moment_send_no_mail_twice(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        customers = [customer_changed() for _ in range(20)]
        await notification.deliver([manager_changed(), *customers])
        await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
        await asyncio.gather(*(send_mails(notification) for _ in range(3)))
        assert len(await notification.published(AlertDelivered)) == 40
    assert len({parse(mail)["Message-ID"] for mail in relay.accepted}) == len(relay.accepted) == 20


async def test_no_transaction_is_open_while_a_mail_is_sent(database: Database, watch: Watch) -> None:
    seen: list[object] = []
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        await told(notification)
        relay.on_data = lambda: "250 OK"

        async def look(*_: object) -> str:
            query = "select count(*) from pg_stat_activity where usename = 'notification' and state like 'idle in%'"
            seen.append(await notification.rows(query))
            return "250 OK"

        relay.handle_DATA = look  # type: ignore[method-assign,assignment] # a stand-in for the method
        await send_mails(notification)
    assert seen == [[(0,)]]


async def test_a_mail_of_a_closed_alert_is_not_sent(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)
        await notification.deliver([alert_closed(raised)])
        await send_mails(notification)
        assert (await mail_of(notification, raised))["state"] == "cancelled"
    assert relay.accepted == []


async def test_a_mail_that_was_under_way_when_its_alert_closed_is_known_to_be_delivered(
    database: Database, watch: Watch
) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)

        async def close_and_accept(*_: object) -> str:
            await notification.deliver([alert_closed(raised)])
            return "250 OK"

        relay.handle_DATA = close_and_accept  # type: ignore[method-assign,assignment] # a stand-in for the method
        await send_mails(notification)
        assert (await mail_of(notification, raised))["state"] == "delivered"
        assert [event.channel for event in await notification.published(AlertDelivered)] == ["inbox", "email"]


async def test_a_manager_who_has_left_is_not_mailed(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)
        other = await told(notification, manager_id="M2")
        await notification.deliver([manager_changed("M1", revision=2, is_active=False), manager_changed("M2")])
        await send_mails(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == ("cancelled", "recipient_inactive")
    assert [parse(mail)["To"] for mail in relay.accepted] == ["m2@bank.example"]
    assert other.alert_id != raised.alert_id


async def test_a_mail_goes_to_the_address_that_is_known_when_it_is_sent(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        await told(notification)
        await notification.deliver([manager_changed("M1", revision=2, email="new@bank.example")])
        await send_mails(notification)
    assert parse(relay.accepted[0])["To"] == "new@bank.example"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("nobody", "invalid_address"),
        ("m1@bank.example\nBcc: x@evil.example", "invalid_address"),
        ("a@b@c", "invalid_address"),
        ("m1@bank.example, m2@bank.example", "invalid_address"),
        ("", "invalid_address"),
        ("<m1@bank.example>", "invalid_address"),
        ("m\u00fcller@bank.example", "invalid_address"),
    ],
)
async def test_an_address_that_takes_no_mail_fails_alone(
    database: Database, watch: Watch, address: str, code: str
) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)
        await notification.deliver([manager_changed("M1", revision=2, email=address)])
        await send_mails(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == ("failed", code)
    assert relay.accepted == []


async def test_logs_hold_no_address(
    database: Database, watch: Watch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    relay = ScriptedRelay(on_recipient=lambda: "550 m1@bank.example is unknown here")
    async with mailing(database, watch, relay) as notification:
        await told(notification)
        await send_mails(notification)
        async with notification.database.jobs.connect() as connection:
            assert await connection.scalar(text("select count(*) from delivery where state = 'failed'")) == 1
    written = caplog.text + capsys.readouterr().out
    assert "delivery_failed" in written
    assert "m1@bank.example" not in written
