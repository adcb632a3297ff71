"""The conversation with the mail relay (SMTP, RFC 5321), and what its answers mean for the mail."""

import asyncio
import socket
import ssl
from contextlib import suppress
from email.message import EmailMessage

import aiosmtplib

from services.notification.settings import NotificationSettings, SmtpTls
from services.notification.use_cases.attempts import Answer, Outcome

SERVICE_NOT_AVAILABLE = 421


class Relay:
    """A connection that is opened for the first mail and kept for the next."""

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings
        self._client: aiosmtplib.SMTP | None = None

    async def send(self, message: EmailMessage) -> Answer:
        try:
            async with asyncio.timeout(self._settings.smtp_timeout_seconds):
                if self._client is None or not self._client.is_connected:
                    self._client = self._new_client()
                    answer = await self._connect(self._client)
                    if answer is not None:
                        return answer
                answer = await self._converse(self._client, message)
        except TimeoutError:
            answer = Answer(Outcome.AWAY, "timeout")
        if answer.outcome is Outcome.AWAY:
            self._hang_up()
        return answer

    async def close(self) -> None:
        if self._client is not None and self._client.is_connected:
            with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                await self._client.quit(timeout=2)
        self._hang_up()

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _new_client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_username,
            password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
            use_tls=settings.smtp_tls is SmtpTls.TLS,
            start_tls=settings.smtp_tls is SmtpTls.STARTTLS,
            cert_bundle=str(settings.smtp_ca_file) if settings.smtp_ca_file else None,
            local_hostname=socket.gethostname() or "localhost",
            timeout=settings.smtp_timeout_seconds,
        )

    async def _connect(self, client: aiosmtplib.SMTP) -> Answer | None:
        """None when it is connected. What is refused here is no mail's fault, whatever the number."""
        try:
            await client.connect()
        except aiosmtplib.SMTPResponseException as fault:
            return Answer(Outcome.AWAY, f"smtp_{fault.code}")
        except ssl.SSLError:
            return Answer(Outcome.AWAY, "tls_failed")
        except aiosmtplib.SMTPTimeoutError:
            return Answer(Outcome.AWAY, "timeout")
        except OSError:
            return Answer(Outcome.AWAY, "connection_failed")
        except aiosmtplib.SMTPException:
            return Answer(Outcome.AWAY, "tls_or_login_not_offered")
        return None

    async def _converse(self, client: aiosmtplib.SMTP, message: EmailMessage) -> Answer:
        try:
            await client.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as fault:
            return _of_reply(fault.recipients[0].code)
        except aiosmtplib.SMTPDataError as fault:
            return _of_reply(fault.code)
        except aiosmtplib.SMTPResponseException as fault:  # to EHLO or MAIL FROM, where we tell who we are
            return Answer(Outcome.AWAY, f"smtp_{fault.code}")
        except (aiosmtplib.SMTPNotSupported, ValueError):
            return Answer(Outcome.REFUSED, "address_not_supported")
        except aiosmtplib.SMTPTimeoutError:
            return Answer(Outcome.AWAY, "timeout")
        except (aiosmtplib.SMTPException, OSError):
            self._hang_up()
            return Answer(Outcome.LATER, "connection_lost")
        return Answer(Outcome.SENT)


def _of_reply(code: int) -> Answer:
    """RFC 5321, 4.2.1: 4 is for now, 5 for ever; 421 is the relay taking its leave."""
    if code == SERVICE_NOT_AVAILABLE:
        return Answer(Outcome.AWAY, f"smtp_{code}")
    return Answer(Outcome.REFUSED if 500 <= code <= 599 else Outcome.LATER, f"smtp_{code}")
