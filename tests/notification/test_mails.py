"""Mails, in real SMTP conversations: never lost, and sent twice only where SMTP leaves no choice."""

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from email.message import EmailMessage
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import text

from services.notification.use_cases.attempts import Attempts
from shared.database import Database
from shared.events.notification import AlertDelivered, Channel
from shared.mail_sink import smtp_sink
from shared.settings import Environment
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest
from tests.notification.bank import (
    M1,
    NOW,
    ScriptedRelay,
    Watch,
    alert_closed,
    alert_raised,
    customer_changed,
    mail_of,
    manager_changed,
    notifying,
    relaying,
    run_job,
    told,
)


@pytest.fixture
async def database(new_database: NewDatabase) -> Database:
    return await new_database("notification")


@asynccontextmanager
async def mailing(
    database: Database, watch: Watch, relay: ScriptedRelay, **settings: Any
) -> AsyncIterator[ServiceUnderTest]:
    async with (
        relaying(relay) as port,
        notifying(database, watch, smtp_host="127.0.0.1", smtp_port=port, **settings) as notification,
    ):
        yield notification


async def send(notification: ServiceUnderTest) -> None:
    await run_job(notification, "send_mails")


def parse(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def telling(*replies: str | None) -> Callable[[], str | None]:
    """Says these, one after the other, and the last for ever."""
    left = list(replies)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


async def test_a_mail_tells_the_number_the_reasons_and_a_link_and_no_name(
    database: Database, watch: Watch, tmp_path: Path
) -> None:
    async with (
        smtp_sink(environment=Environment.DEMO, folder=tmp_path) as port,
        notifying(database, watch, smtp_port=port, smtp_from="alerts@bank.example") as notification,
    ):
        raised = await told(notification)
        await send(notification)
        (file,) = files(tmp_path)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)
        assert delivery["delivered_at"] == "2026-11-24T09:30:00Z"
        mail = parse(file.read_bytes())
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
        await send(notification)
    assert url.format(customer_id=raised.customer_id) in body(parse(relay.accepted[0]), "plain")


async def test_many_mails_go_over_one_connection_each_once(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        customers = [customer_changed() for _ in range(20)]
        await notification.deliver([manager_changed(), *customers])
        await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
        await send(notification)
        await send(notification)
    assert relay.connections == 1
    assert len({parse(mail)["Message-ID"] for mail in relay.accepted}) == len(relay.accepted) == 20


async def test_senders_at_the_same_moment_send_no_mail_twice(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        customers = [customer_changed() for _ in range(20)]
        await notification.deliver([manager_changed(), *customers])
        await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
        await asyncio.gather(*(send(notification) for _ in range(3)))
        assert len(await notification.published(AlertDelivered)) == 40
    assert len({parse(mail)["Message-ID"] for mail in relay.accepted}) == len(relay.accepted) == 20


@pytest.mark.parametrize("where", ["on_recipient", "on_data"])
async def test_a_mail_refused_for_now_is_sent_later(database: Database, watch: Watch, where: str) -> None:
    relay = ScriptedRelay(**{where: telling("451 try again", "452 full", "250 OK")})  # type: ignore[arg-type] # the field is named by the parameter
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)
        await send(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["attempts"], delivery["code"]) == ("pending", 1, "smtp_451")
        first_wait = datetime.fromisoformat(delivery["next_attempt_at"]) - NOW
        assert timedelta(seconds=2.5) <= first_wait <= timedelta(seconds=5)
        await send(notification)
        assert (await mail_of(notification, raised))["attempts"] == 1, "it is not due yet"
        watch.forward(seconds=5)
        await send(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["attempts"], delivery["code"]) == (2, "smtp_452")
        second_wait = datetime.fromisoformat(delivery["next_attempt_at"]) - watch.now
        assert timedelta(seconds=5) <= second_wait <= timedelta(seconds=10), "each wait is twice as long"
        watch.forward(seconds=10)
        await send(notification)
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
        await send(notification)
        delivery = await mail_of(notification, refused)
        assert (delivery["state"], delivery["code"], delivery["next_attempt_at"]) == ("failed", "smtp_550", None)
        assert (await mail_of(notification, other))["state"] == "delivered"
        watch.forward(days=1)
        await send(notification)
    assert len(relay.accepted) == 1


async def test_a_mail_that_is_always_refused_for_now_fails_in_the_end(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay(on_data=lambda: "451 try again")
    async with mailing(database, watch, relay, mail_attempts=3) as notification:
        raised = await told(notification)
        for _ in range(5):
            await send(notification)
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
        await send(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == ("pending", "connection_lost")
        watch.forward(seconds=5)
        await send(notification)
        assert (await mail_of(notification, raised))["state"] == "delivered"
    assert (relay.connections, len(relay.accepted)) == (2, 1)


async def test_a_mail_whose_acceptance_was_not_heard_is_the_same_mail_when_it_is_sent_again(
    database: Database, watch: Watch
) -> None:
    relay = ScriptedRelay(on_data=telling(None, "250 OK"))
    async with mailing(database, watch, relay) as notification:
        await told(notification)
        await send(notification)
        watch.forward(seconds=5)
        await send(notification)
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
                await send(notification)
        assert len(files(tmp_path)) == 1
        assert (await mail_of(notification, raised))["state"] == "pending"
        await send(notification)
        assert (await mail_of(notification, raised))["attempts"] == 1, "the lease of the dead is not over"
        watch.forward(minutes=2)
        await send(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["attempts"]) == ("delivered", 2)
        assert len(files(tmp_path)) == 1


async def test_an_absent_relay_costs_one_mail_an_attempt_and_the_others_wait(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with relaying(relay) as port:
        pass
    async with notifying(database, watch, smtp_port=port) as notification:
        customers = [customer_changed() for _ in range(5)]
        await notification.deliver([manager_changed(), *customers])
        await notification.deliver([alert_raised(customer.customer_id) for customer in customers])
        for _ in range(3):
            await send(notification)
        assert await notification.rows(
            "select attempts, code, count(*) from delivery where channel = 'email' group by 1, 2 order by 1"
        ) == [(0, None, 4), (1, "connection_failed", 1)]


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
        await send(notification)
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
        async with asyncio.timeout(3):
            await send(notification)
        assert (await mail_of(notification, raised))["code"] == "timeout"
    server.close()


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
        await send(notification)
    assert seen == [[(0,)]]


async def test_a_mail_of_a_closed_alert_is_not_sent(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)
        await notification.deliver([alert_closed(raised)])
        await send(notification)
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
        await send(notification)
        assert (await mail_of(notification, raised))["state"] == "delivered"
        assert [event.channel for event in await notification.published(AlertDelivered)] == ["inbox", "email"]


async def test_a_manager_who_has_left_is_not_mailed(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        raised = await told(notification)
        other = await told(notification, manager_id="M2")
        await notification.deliver([manager_changed("M1", revision=2, is_active=False), manager_changed("M2")])
        await send(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == ("cancelled", "recipient_inactive")
    assert [parse(mail)["To"] for mail in relay.accepted] == ["m2@bank.example"]
    assert other.alert_id != raised.alert_id


async def test_a_mail_goes_to_the_address_that_is_known_when_it_is_sent(database: Database, watch: Watch) -> None:
    relay = ScriptedRelay()
    async with mailing(database, watch, relay) as notification:
        await told(notification)
        await notification.deliver([manager_changed("M1", revision=2, email="new@bank.example")])
        await send(notification)
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
        await send(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == ("failed", code)
    assert relay.accepted == []


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A relay's TLS and the certificate that it is known by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromisoformat("2020-01-01T00:00:00+00:00"))
        .not_valid_after(datetime.fromisoformat("2100-01-01T00:00:00+00:00"))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "relay.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "relay.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "relay.pem", folder / "relay.key")
    return context, folder / "relay.pem"


@pytest.mark.parametrize(
    ("password", "state", "code"), [("right", "delivered", None), ("wrong", "pending", "smtp_535")]
)
async def test_a_password_is_told_to_the_relay_that_the_certificate_names(
    database: Database,
    watch: Watch,
    certificate: tuple[ssl.SSLContext, Path],
    password: str,
    state: str,
    code: str | None,
) -> None:
    relay = ScriptedRelay()
    context, ca_file = certificate
    settings = {"smtp_tls": "starttls", "smtp_ca_file": ca_file, "smtp_username": "branchline"}
    async with (
        relaying(relay, context, require_starttls=True, auth_required=True) as port,
        notifying(database, watch, smtp_port=port, smtp_password=password, **settings) as notification,
    ):
        raised = await told(notification)
        await send(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == (state, code)
    assert relay.logins[0] == (b"branchline", password.encode())
    assert relay.encrypted == [True] * len(relay.accepted)


async def test_a_relay_with_an_unknown_certificate_or_without_tls_gets_no_mail(
    database: Database, watch: Watch, certificate: tuple[ssl.SSLContext, Path], new_database: NewDatabase
) -> None:
    settings = {"smtp_tls": "starttls", "smtp_username": "branchline", "smtp_password": "right"}
    for tls, code, where in (
        (certificate[0], "tls_failed", database),
        (None, "tls_or_login_not_offered", await new_database("notification")),
    ):
        relay = ScriptedRelay()
        async with (
            relaying(relay, tls) as port,
            notifying(where, watch, smtp_port=port, **settings) as notification,
        ):
            raised = await told(notification)
            await send(notification)
            assert (await mail_of(notification, raised, M1))["code"] == code
        assert (relay.accepted, relay.logins) == ([], [])


async def test_logs_hold_no_address(
    database: Database, watch: Watch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    relay = ScriptedRelay(on_recipient=lambda: "550 m1@bank.example is unknown here")
    async with mailing(database, watch, relay) as notification:
        await told(notification)
        await send(notification)
        async with notification.database.jobs.connect() as connection:
            assert await connection.scalar(text("select count(*) from delivery where state = 'failed'")) == 1
    written = caplog.text + capsys.readouterr().out
    assert "delivery_failed" in written
    assert "m1@bank.example" not in written
