"""A mail relay that answers as it is told, and a service that mails by it."""

import asyncio
import email
import email.policy
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult

from shared.database import Database
from tests.harness import ServiceUnderTest
from tests.notification.bank import (
    Watch,
    notifying,
    run_job,
)

Reply = str | None
"""What the relay says; None hangs up without a word."""


@dataclass
class ScriptedRelay:
    """A mail relay that answers as it is told. `accepted` are the mails that it said 250 to, or was about to."""

    on_mail: Callable[[], Reply] = lambda: "250 OK"
    on_recipient: Callable[[], Reply] = lambda: "250 OK"
    on_data: Callable[[], Reply] = lambda: "250 OK"
    accepted: list[bytes] = field(default_factory=list)
    connections: int = 0
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    async def handle_MAIL(self, server: SMTP, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802, RUF100 - aiosmtpd's
        envelope.mail_from = address
        return self._say(server, self.on_mail())

    async def handle_RCPT(self, server: SMTP, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802, RUF100 - aiosmtpd's
        envelope.rcpt_tos.append(address)
        return self._say(server, self.on_recipient())

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802, RUF100 - aiosmtpd's
        reply = self.on_data()
        if reply is None or reply.startswith("2"):
            self.accepted.append(envelope.original_content)
            self.encrypted.append(session.ssl is not None)
        return self._say(server, reply)

    @staticmethod
    def _say(server: SMTP, reply: Reply) -> str:
        if reply is None:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "421 never heard"
        return reply

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: Any, data: Any) -> Any:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)


@asynccontextmanager
async def relaying(relay: ScriptedRelay, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    """The relay's port, on loopback."""
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        relay.connections += 1
        return SMTP(relay, hostname="relay", loop=loop, tls_context=tls, authenticator=relay.authenticate, **options)

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def mailing(
    database: Database, watch: Watch, relay: ScriptedRelay, **settings: Any
) -> AsyncIterator[ServiceUnderTest]:
    async with (
        relaying(relay) as port,
        notifying(database, watch, smtp_host="127.0.0.1", smtp_port=port, **settings) as notification,
    ):
        yield notification


async def send_mails(notification: ServiceUnderTest) -> None:
    await run_job(notification, "send_mails")


def parse(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def telling(*replies: str | None) -> Callable[[], str | None]:
    """Says these, one after the other, and the last for ever."""
    left = list(replies)
    return lambda: left.pop(0) if len(left) > 1 else left[0]
