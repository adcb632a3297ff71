"""The demo's mail relay keeps each mail once, shows it as text, and exists in the demo only."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from shared.mail_sink import (
    PAGE,
    MailSinkOutsideDemo,
    create_mail_app,
    keep_mail,
    mail_name,
    serve_mail_sink,
    smtp_sink,
)
from shared.settings import Environment


def mail(message_id: str | None = "<1@bank.example>", subject: str = "Hello", text: str = "Line") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@bank.example", "b@bank.example", subject
    if message_id is not None:
        message["Message-ID"] = message_id
    message.set_content(text)
    return message


@asynccontextmanager
async def browsing(folder: Path, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Mount("/demo/mails", create_mail_app(folder))])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sink.test", headers=headers) as client:
        yield client


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_mail_sent_twice_is_one_file(tmp_path: Path) -> None:
    async with smtp_sink(environment=Environment.DEMO, folder=tmp_path / "mails") as port:
        for text in ("first", "second"):
            await aiosmtplib.send(mail(text=text), hostname="127.0.0.1", port=port)
        await aiosmtplib.send(mail("<2@bank.example>"), hostname="127.0.0.1", port=port)
    assert names(tmp_path / "mails") == ["1@bank.example.eml", "2@bank.example.eml"]
    assert b"second" in (tmp_path / "mails" / "1@bank.example.eml").read_bytes()


@pytest.mark.parametrize(
    "message_id",
    [
        "<../../etc/passwd>",
        "<.hidden@x>",
        "</absolute@x>",
        "<a\x00b@x>",
        "<" + "x" * 500 + "@x>",
        "<ü@x>",
        "<>",
        None,
        "",
    ],
)
def test_a_message_id_never_names_a_file_elsewhere(tmp_path: Path, message_id: str | None) -> None:
    folder = tmp_path / "mails"
    folder.mkdir()
    head = f"Message-ID: {message_id}\r\n".encode() if message_id is not None else b""
    for _ in range(2):
        keep_mail(folder, head + b"Subject: x\r\n\r\nText\r\n")
    (name,) = names(folder)
    assert name.endswith(".eml")
    assert not name.startswith(".")
    assert names(tmp_path) == ["mails"]


def test_message_ids_that_differ_have_names_that_differ() -> None:
    stated = ["<a/b@x>", "<a b@x>", "<a_b@x>", "<a..b@x>"]
    assert len({mail_name(message_id, b"") for message_id in stated}) == len(stated)
    assert mail_name("", b"one") != mail_name("", b"two")


async def test_mails_are_listed_newest_first_and_paged(tmp_path: Path) -> None:
    for number in range(PAGE + 5):
        keep_mail(tmp_path, mail(f"<{number}@x>", subject=f"Mail {number}").as_bytes())
        os.utime(tmp_path / f"{number}@x.eml", (number, number))
    async with browsing(tmp_path, Accept="application/json") as client:
        first = (await client.get("/demo/mails/")).json()
        second = (await client.get("/demo/mails/?page=2")).json()
        assert first["count"] == PAGE + 5
        subjects = [item["subject"] for item in first["items"] + second["items"]]
        assert subjects == [f"Mail {number}" for number in reversed(range(PAGE + 5))]
        assert first["items"][0]["message_id"] == f"<{PAGE + 4}@x>"
        assert (await client.get(first["items"][0]["url"])).status_code == 200
        assert (await client.get("/demo/mails/?page=x")).status_code == 404
    async with browsing(tmp_path) as client:
        page = await client.get("/demo/mails/")
        assert f'<a href="/demo/mails/{PAGE + 4}@x">' in page.text
        assert '<a href="/demo/mails/?page=2">older</a>' in page.text
        assert "newer" in (await client.get("/demo/mails/?page=2")).text


async def test_what_a_mail_says_is_shown_as_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    message = mail("<1@x>", subject=evil, text=f"Dear {evil}")
    message.add_alternative(f"<p>{evil}</p>", subtype="html")
    keep_mail(tmp_path, message.as_bytes())
    only_html = mail("<2@x>")
    only_html.set_content(f"<p>{evil}</p>", subtype="html")
    keep_mail(tmp_path, only_html.as_bytes())
    async with browsing(tmp_path) as client:
        for path in ("/demo/mails/", "/demo/mails/1@x", "/demo/mails/2@x"):
            answer = await client.get(path)
            assert answer.headers["content-type"].startswith("text/html")
            assert "script-src" not in answer.headers["content-security-policy"]
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "<script" not in answer.text
        shown = (await client.get("/demo/mails/1@x")).text
        assert "Dear &lt;script&gt;" in shown
        assert "To: b@bank.example" in shown
        for path in ("/demo/mails/3@x", "/demo/mails/..%2f..%2fetc%2fpasswd", "/demo/mails/%2e%2e"):
            assert (await client.get(path)).status_code == 404


async def test_an_empty_sink_shows_an_empty_list(tmp_path: Path) -> None:
    async with browsing(tmp_path / "not_there_yet") as client:
        assert "0 mails" in (await client.get("/demo/mails/")).text


async def test_a_broken_mail_breaks_no_page(tmp_path: Path) -> None:
    keep_mail(tmp_path, b"\xff\xfe\x00 no header\r\n: : :\r\nContent-Type: multipart/mixed\r\n\r\n\xff")
    keep_mail(tmp_path, b"Message-ID: <1@x>\r\nContent-Type: text/plain; charset=nonsense\r\n\r\n\xff\xfe")
    keep_mail(tmp_path, b"Message-ID: <2@x>\r\nSubject: =?utf-8?b?!!!?=\r\nTo: \xff@\r\nDate: never\r\n\r\n")
    async with browsing(tmp_path) as client:
        assert (await client.get("/demo/mails/")).status_code == 200
        for name in names(tmp_path):
            assert (await client.get(f"/demo/mails/{name.removesuffix('.eml')}")).status_code == 200


async def test_a_full_disk_refuses_the_mail_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("shared.mail_sink.keep_mail", full)
    async with smtp_sink(environment=Environment.DEMO, folder=tmp_path) as port:
        with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
            await aiosmtplib.send(mail(), hostname="127.0.0.1", port=port)
    assert refusal.value.code == 452


async def test_the_sink_does_not_start_outside_the_demo(tmp_path: Path) -> None:
    outside: dict[str, Any] = {"environment": Environment.PRODUCTION}
    with pytest.raises(MailSinkOutsideDemo):
        async with smtp_sink(folder=tmp_path, **outside):
            pass
    with pytest.raises(MailSinkOutsideDemo):
        await serve_mail_sink("127.0.0.1", 0, 0, tmp_path, **outside)


PROGRAM = """
import asyncio, pathlib, sys
from shared.mail_sink import serve_mail_sink
from shared.settings import Environment
smtp, http, folder = int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])
asyncio.run(serve_mail_sink("127.0.0.1", smtp, http, folder, environment=Environment.DEMO))
"""


async def test_the_sink_alone_takes_mails_shows_them_and_ends_at_a_signal(
    tmp_path: Path, unused_tcp_port_factory: Any
) -> None:
    smtp, http = unused_tcp_port_factory(), unused_tcp_port_factory()
    arguments = (sys.executable, "-c", PROGRAM, str(smtp), str(http), str(tmp_path / "mails"))
    process = await asyncio.create_subprocess_exec(*arguments)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http}") as client:
            async with asyncio.timeout(20):
                while True:
                    try:
                        assert (await client.get("/readyz")).status_code == 200
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.05)
            await aiosmtplib.send(mail(), hostname="127.0.0.1", port=smtp)
            listed = await client.get("/demo/mails/", headers={"Accept": "application/json"})
            assert [item["subject"] for item in listed.json()["items"]] == ["Hello"]
            assert "Line" in (await client.get(listed.json()["items"][0]["url"])).text
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) in (0, -signal.SIGTERM)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
