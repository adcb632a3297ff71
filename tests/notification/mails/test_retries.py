"""Whatever a relay answers, a mail is never lost, and sent twice only where SMTP leaves no choice."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.notification.use_cases.attempts import Attempts
from shared.database import Database
from shared.events.notification import AlertDelivered
from shared.mail_sink import kept_mails, smtp_sink
from shared.settings import Environment
from tests.harness import ServiceUnderTest
from tests.notification.bank import (
    NOW,
    Watch,
    alert_raised,
    customer_changed,
    mail_of,
    manager_changed,
    notifying,
    told,
)
from tests.notification.relay import ScriptedRelay, mailing, relaying, send_mails, telling


@pytest.mark.parametrize("where", ["on_recipient", "on_data"])
async def test_a_mail_refused_for_now_is_sent_later(database: Database, watch: Watch, where: str) -> None:
    relay = ScriptedRelay(**{where: telling("451 try again", "452 full", "250 OK")})  # type: ignore[arg-type] # the field is named by the parameter
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)
        await send_mails(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["attempts"], delivery["code"]) == ("pending", 1, "smtp_451")
        first_wait = datetime.fromisoformat(delivery["next_attempt_at"]) - NOW
        assert timedelta(seconds=2.5) <= first_wait <= timedelta(seconds=5)
        await send_mails(notification)
        assert (await mail_of(notification, raised))["attempts"] == 1, "it is not due yet"
        watch.forward(seconds=5)
        await send_mails(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["attempts"], delivery["code"]) == (2, "smtp_452")
        second_wait = datetime.fromisoformat(delivery["next_attempt_at"]) - watch.now
        assert timedelta(seconds=5) <= second_wait <= timedelta(seconds=10), "each wait is twice as long"
        watch.forward(seconds=10)
        await send_mails(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["attempts"], delivery["code"]) == ("delivered", 3, None)
    assert len(relay.accepted) == 1


@pytest.mark.parametrize("where", ["on_recipient", "on_data"])
async def test_a_mail_refused_for_good_has_failed_and_the_others_go_on(
    database: Database, watch: Watch, where: str
) -> None:
    relay = ScriptedRelay(**{where: telling("550 no such user", "250 OK")})  # type: ignore[arg-type] # the field is named by the parameter
    async with mailing(database, watch, relay) as notification:
        refused = await told(notification)
        watch.forward(seconds=1)
        other = await told(notification)
        await send_mails(notification)
        delivery = await mail_of(notification, refused)
        assert (delivery["state"], delivery["code"], delivery["next_attempt_at"]) == ("failed", "smtp_550", None)
        assert (await mail_of(notification, other))["state"] == "delivered"
        watch.forward(days=1)
        await send_mails(notification)
    assert len(relay.accepted) == 1


async def test_a_mail_that_is_always_refused_for_now_fails_in_the_end(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay(on_data=lambda: "451 try again")
    async with mailing(database, watch, relay, mail_attempts=3) as notification:
        raised = await told(notification)
        for _ in range(5):
            await send_mails(notification)
            watch.forward(hours=1)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["attempts"], delivery["code"]) == ("failed", 3, "smtp_451")


@pytest.mark.parametrize("where", ["on_mail", "on_recipient"])
async def test_a_connection_that_drops_before_the_mail_is_sent_loses_and_doubles_nothing(
    database: Database, watch: Watch, where: str
) -> None:
    relay = ScriptedRelay(**{where: telling(None, "250 OK")})  # type: ignore[arg-type] # the field is named by the parameter
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)
        await send_mails(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == ("pending", "connection_lost")
        watch.forward(seconds=5)
        await send_mails(notification)
        assert (await mail_of(notification, raised))["state"] == "delivered"
    assert (relay.connections, len(relay.accepted)) == (2, 1)


async def test_a_mail_whose_acceptance_was_not_heard_is_the_same_mail_when_it_is_sent_again(
    database: Database, watch: Watch
) -> None:
    relay = ScriptedRelay(on_data=telling(None, "250 OK"))
    async with mailing(database, watch, relay) as notification:
        await told(notification)
        await send_mails(notification)
        watch.forward(seconds=5)
        await send_mails(notification)
        assert len(await notification.published(AlertDelivered)) == 2, "one for the inbox, one for the mail"
    first, second = relay.accepted
    assert first == second, "to the byte, so that whoever takes it can tell"


async def test_a_sender_that_dies_after_the_mail_was_taken_leaves_one_mail_in_the_sink(
    database: Database, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        smtp_sink(environment=Environment.DEMO, folder=tmp_path) as port,
        notifying(database, watch, smtp_port=port) as notification,
    ):
        raised = await told(notification)

        class Killed(BaseException):
            """As kill -9 does: nothing is recorded."""

        async def die(*_: object) -> None:
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(Attempts, "record", die)
            with pytest.raises(Killed):
                await send_mails(notification)
        assert len(kept_mails(tmp_path)) == 1
        assert (await mail_of(notification, raised))["state"] == "pending"
        await send_mails(notification)
        assert (await mail_of(notification, raised))["attempts"] == 1, "the lease of the dead is not over"
        watch.forward(minutes=2)
        await send_mails(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["attempts"]) == ("delivered", 2)
        assert len(kept_mails(tmp_path)) == 1


async def test_an_absent_relay_costs_one_mail_an_attempt_and_the_others_wait(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with relaying(relay) as port:
        pass
    async with notifying(database, watch, smtp_port=port) as notification:
        customers = [customer_changed() for _ in range(5)]
        await notification.deliver([manager_changed(), *customers])
        await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
        for _ in range(3):
            await send_mails(notification)
        assert await attempts(notification) == [(0, None, 4), (1, "connection_failed", 1)]
        watch.forward(seconds=1)
        for _ in range(3):
            await send_mails(notification)
        assert await attempts(notification) == [(0, None, 3), (1, "connection_failed", 2)], "is it back?"


async def test_a_run_ends_before_a_shutdown_would_have_to_wait_for_it(database: Database, watch: Watch) -> None:
    def take_three_seconds() -> str:
        watch.forward(seconds=3)
        return "250 OK"

    async with mailing(database, watch, ScriptedRelay(on_data=take_three_seconds)) as notification:
        for _ in range(3):
            await told(notification)
        await send_mails(notification)
        assert await attempts(notification) == [(0, None, 1), (1, None, 2)], "none begins after four seconds"
        await send_mails(notification)
        assert await attempts(notification) == [(1, None, 3)]


@pytest.mark.parametrize(
    ("relay", "code"),
    [
        (ScriptedRelay(on_mail=lambda: "550 we do not know you"), "smtp_550"),
        (ScriptedRelay(on_recipient=lambda: "421 going down"), "smtp_421"),
    ],
)
async def test_a_relay_that_does_not_like_us_is_no_mails_fault(
    database: Database, watch: Watch, relay: ScriptedRelay, code: str
) -> None:
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)
        await send_mails(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == ("pending", code)


async def test_a_relay_that_does_not_answer_is_given_up(database: Database, watch: Watch) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with notifying(database, watch, smtp_port=port, smtp_timeout_seconds=0.3) as notification:
        raised = await told(notification)
        await send_mails(notification)
        assert (await mail_of(notification, raised))["code"] == "timeout"
    server.close()


async def attempts(notification: ServiceUnderTest) -> list[tuple[Any, ...]]:
    """Attempts, code, and how many mails have them."""
    return await notification.rows(
        "select attempts, code, count(*) from delivery where channel = 'email' group by 1, 2 order by 1"
    )
