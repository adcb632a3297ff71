"""The demo's mail relay: takes every mail, sends none on, and shows them. For the demo and for tests only.

A mail is a file named after its Message-ID, written before it is accepted; the same mail sent again is the same file.
"""

import asyncio
import email
import email.policy
import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import structlog
import uvicorn
from aiosmtpd.smtp import SMTP, Envelope
from aiosmtpd.smtp import Session as SmtpSession
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from shared.ids import new_id
from shared.masking import masked
from shared.settings import Environment

log = structlog.get_logger(__name__)

MAX_MAIL_BYTES = 1_048_576
PAGE = 50
SUFFIX = ".eml"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class MailSinkOutsideDemo(RuntimeError):
    """Somebody tried to have the demo's sink take the mails of a real bank."""

    def __init__(self, environment: str) -> None:
        super().__init__(
            f"The mail sink keeps every mail to itself and does not start with BRANCHLINE_ENVIRONMENT={environment}."
            " Name the bank's mail relay in NOTIFICATION_SMTP_HOST."
        )


def mail_name(message_id: str, content: bytes) -> str:
    """A file's name for a mail: its Message-ID where that can be one, and what else tells it apart."""
    stated = message_id.strip().removeprefix("<").removesuffix(">")
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9@._-]{0,199}", stated):
        return stated
    digest = hashlib.sha256(stated.encode("utf-8", "surrogateescape") if stated else content).hexdigest()[:32]
    return f"{re.sub(r'[^A-Za-z0-9@_-]+', '_', stated)[:80].strip('_') or 'mail'}-{digest}"


def keep_mail(folder: Path, content: bytes) -> None:
    """On disk when it returns."""
    message_id = email.message_from_bytes(content, policy=email.policy.compat32).get("Message-ID", "")
    draft = folder / f".{new_id()}"
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / f"{mail_name(str(message_id), content)}{SUFFIX}")


class _Keeper:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, _server: SMTP, _session: SmtpSession, envelope: Envelope) -> str:  # noqa: N802, RUF100 - aiosmtpd's
        content = envelope.original_content
        assert content is not None
        try:
            await asyncio.to_thread(keep_mail, self._folder, content)
        except OSError as fault:
            log.error("mail_not_kept", fault=type(fault).__name__)
            return "452 Insufficient system storage"
        return "250 Kept"


@asynccontextmanager
async def smtp_sink(
    *, environment: Environment, folder: Path, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """Takes mails into `folder` while it is open; gives the port. Raises MailSinkOutsideDemo."""
    if environment is not Environment.DEMO:
        raise MailSinkOutsideDemo(environment)
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    loop = asyncio.get_running_loop()
    keeper = _Keeper(folder)

    def protocol() -> Any:
        return SMTP(keeper, hostname="mail-sink", data_size_limit=MAX_MAIL_BYTES, enable_SMTPUTF8=True, loop=loop)

    server = await loop.create_server(protocol, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@masked
class KeptMail(NamedTuple):
    name: str
    kept_at: datetime
    path: Path

    def read(self) -> Message:
        # The older parser: it reads whatever somebody sends and never gives up.
        return email.message_from_bytes(self.path.read_bytes(), policy=email.policy.compat32)


def _header(message: Message, name: str) -> str:
    raw = str(message.get(name, ""))
    try:
        text = str(make_header(decode_header(raw)))
    except (HeaderParseError, ValueError, LookupError):
        text = raw
    return " ".join(text.split()).encode("utf-8", "replace").decode()


def _text(message: Message) -> str:
    """The first text of a mail, plain if there is any."""
    parts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    for part in sorted(parts, key=lambda part: part.get_content_subtype() != "plain"):
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            try:
                return content.decode(part.get_content_charset() or "utf-8", "replace")
            except LookupError:
                return content.decode("utf-8", "replace")
    return ""


def kept_mails(folder: Path) -> list[KeptMail]:
    """The newest first."""

    def found() -> Iterator[KeptMail]:
        for path in folder.glob(f"*{SUFFIX}") if folder.is_dir() else ():
            kept_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            yield KeptMail(path.name.removesuffix(SUFFIX), kept_at, path)

    return sorted(found(), key=lambda mail: (mail.kept_at, mail.name), reverse=True)


def create_mail_app(folder: Path) -> Starlette:
    """The mails in `folder`: a list, as a page or as JSON, and each as text. The demo puts it below a path."""

    async def list_mails(request: Request) -> Response:
        try:
            page = max(1, int(request.query_params.get("page", "1")))
        except ValueError:
            raise HTTPException(404) from None
        mails = await asyncio.to_thread(kept_mails, folder)
        shown = await asyncio.to_thread(_rows, mails[(page - 1) * PAGE : page * PAGE])
        root = request.scope.get("root_path", "")
        if "application/json" in request.headers.get("accept", ""):
            items = [{**row, "url": f"{root}/{row['name']}"} for row in shown]
            return JSONResponse({"count": len(mails), "items": items}, headers=HEADERS)
        return HTMLResponse(_list_page(root, shown, page, len(mails)), headers=HEADERS)

    async def read_mail(request: Request) -> Response:
        name = request.path_params["name"]
        mails = {mail.name: mail for mail in await asyncio.to_thread(kept_mails, folder)}
        if name not in mails:
            raise HTTPException(404)
        message = await asyncio.to_thread(mails[name].read)
        return HTMLResponse(_mail_page(request.scope.get("root_path", ""), message), headers=HEADERS)

    return Starlette(routes=[Route("/", list_mails), Route("/{name}", read_mail)])


def _rows(mails: list[KeptMail]) -> list[dict[str, str]]:
    rows = []
    for mail in mails:
        message = mail.read()
        rows.append(
            {
                "name": mail.name,
                "kept_at": mail.kept_at.isoformat(timespec="seconds"),
                "to": _header(message, "To"),
                "subject": _header(message, "Subject"),
                "message_id": _header(message, "Message-ID"),
            }
        )
    return rows


STYLE = (
    "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "td{padding:.15rem 1rem .15rem 0}pre{white-space:pre-wrap;font:inherit}</style>"
)


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width">{STYLE}</head><body>{body}</body></html>'
    )


def _list_page(root: str, rows: list[dict[str, str]], page: int, count: int) -> str:
    lines = "".join(
        f"<tr><td>{escape(row['kept_at'])}</td><td>{escape(row['to'])}</td>"
        f'<td><a href="{escape(root)}/{escape(row["name"])}">{escape(row["subject"])}</a></td></tr>'
        for row in rows
    )
    newer = f'<a href="{escape(root)}/?page={page - 1}">newer</a> ' if page > 1 else ""
    older = f'<a href="{escape(root)}/?page={page + 1}">older</a>' if page * PAGE < count else ""
    return _page("Mails", f"<h1>{count} mails</h1><table>{lines}</table><p>{newer}{older}</p>")


def _mail_page(root: str, message: Message) -> str:
    """Text only: a mail's own HTML is never shown as HTML."""
    headers = "\n".join(
        f"{name}: {_header(message, name)}"
        for name in ("From", "To", "Date", "Subject", "Message-ID")
        if name in message
    )
    back = f'<p><a href="{escape(root)}/">All mails</a></p>'
    return _page(
        _header(message, "Subject") or "Mail", f"{back}<pre>{escape(headers)}\n\n{escape(_text(message))}</pre>"
    )


async def serve_mail_sink(
    host: str, smtp_port: int, http_port: int, folder: Path, *, environment: Environment, path: str = "/demo/mails"
) -> None:
    """Takes mails on one port and shows them below `path` on another, until a signal. Raises MailSinkOutsideDemo."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "service": "mail-sink"})

    app = Starlette(routes=[Route("/healthz", health), Route("/readyz", health), Mount(path, create_mail_app(folder))])
    config = uvicorn.Config(
        app, host=host, port=http_port, log_config=None, access_log=False, server_header=False, proxy_headers=False
    )
    async with smtp_sink(environment=environment, folder=folder, host=host, port=smtp_port) as port:
        log.info("mail_sink_listens", smtp_port=port, http_port=http_port)
        await uvicorn.Server(config).serve()
