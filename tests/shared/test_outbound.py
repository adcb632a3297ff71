"""Calls to configured addresses reach nothing of our own, however the address is written."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import httpx
import pytest

from shared.outbound import Address, ForbiddenTarget, OutboundClient, Resolver, is_public, resolve

LOOPBACK = (ip_network("127.0.0.0/8"),)


def answering(*answers: Sequence[str]) -> Resolver:
    """A name server that gives one answer after the other, the last one for ever."""
    left = [list(answer) for answer in answers]

    async def resolver(_host: str, _port: int) -> Sequence[Address]:
        answer = left.pop(0) if len(left) > 1 else left[0]
        return [ip_address(address) for address in answer]

    return resolver


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1"),
        *("172.31.255.255", "192.0.2.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b::7f00:1"),
        *("2002:7f00:1::", "2002:c0a8:101::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fc00::1", "fd00:ec2::254"),
        *("fe80::1", "fec0::1", "ff02::1", "2001:db8::1"),
    ],
)
def test_what_is_not_on_the_internet_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:2800:220:1::1"])
def test_what_is_on_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://127.0.0.1/", "not_public"),
        ("https://[::1]/", "not_public"),
        ("https://[::ffff:127.0.0.1]/", "not_public"),
        ("https://[::ffff:7f00:1]/", "not_public"),
        ("https://169.254.169.254/latest/meta-data/", "not_public"),
        ("https://localhost/", "not_public"),
        ("https://2130706433/", "odd_address"),
        ("https://0x7f000001/", "odd_address"),
        ("https://0x7f.1/", "odd_address"),
        ("https://0177.0.0.1/", "not_a_url"),
        ("https://127.1/", "odd_address"),
        ("https://127.0.0.1./", "odd_address"),
        ("https://017700000001/", "odd_address"),
        ("https://user:password@hook.example/", "has_credentials"),
        ("https://hook.example@127.0.0.1/", "has_credentials"),
        ("ftp://hook.example/", "not_a_url"),
        ("file:///etc/passwd", "not_a_url"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "not_a_url"),
        ("//hook.example/", "not_a_url"),
        ("https:///", "not_a_url"),
        ("https://ⓛocalhost/", "not_a_url"),
        (f"https://{'a' * 64}.example/", "not_a_url"),
        ("", "not_a_url"),
    ],
)
async def test_a_target_of_our_own_is_refused_however_it_is_written(url: str, code: str) -> None:
    with pytest.raises(ForbiddenTarget) as refused:
        await OutboundClient().post(url, b"", {})
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("url", "code"), [("http://hook.example/", "not_https"), ("https://hook.example:22/", "not_https")]
)
async def test_the_internet_is_called_over_https_only(url: str, code: str) -> None:
    with pytest.raises(ForbiddenTarget, match=code):
        await OutboundClient(resolver=answering(["93.184.216.34"])).post(url, b"", {})


async def test_a_name_with_one_private_address_among_its_own_is_refused() -> None:
    with pytest.raises(ForbiddenTarget, match="not_public"):
        await OutboundClient(resolver=answering(["93.184.216.34", "10.0.0.1"])).post("https://hook.example/", b"", {})
    with pytest.raises(ForbiddenTarget, match="no_address"):
        await OutboundClient(resolver=answering([])).post("https://hook.example/", b"", {})


async def test_the_connection_goes_to_the_address_that_was_checked_and_the_name_is_asked_once() -> None:
    """DNS rebinding: the second answer would be loopback."""
    called: list[httpx.Request] = []

    def note(request: httpx.Request) -> httpx.Response:
        called.append(request)
        return httpx.Response(204)

    resolver = answering(["93.184.216.34"], ["127.0.0.1"])
    client = OutboundClient(resolver=resolver, transport=httpx.MockTransport(note))
    assert await client.post("https://hook.example:8443/alerts?a=1", b"{}", {"Host": "evil.example"}) == (204, None)
    (request,) = called
    assert str(request.url) == "https://93.184.216.34:8443/alerts?a=1"
    assert request.headers.get_list("host") == ["hook.example:8443"]
    assert request.extensions["sni_hostname"] == "hook.example", "TLS checks the name, not the address"
    with pytest.raises(ForbiddenTarget, match="not_public"):
        await client.post("https://hook.example:8443/alerts", b"{}", {})


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A real server on loopback that always says the same; its port, and what it was sent."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heard.append(head)
        writer.write(answer)
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], heard


async def test_a_network_that_the_operator_allows_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with server(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n") as (port, heard):
        client = OutboundClient(allowed=LOOPBACK, resolver=answering(["127.0.0.2", "127.0.0.1"]))
        # Nothing listens on the first address: the next one is tried.
        assert await client.post(f"http://chat.bank.example:{port}/hook", b"{}", {"X-Event": "alert"}) == (202, None)
    (head,) = heard
    assert head.startswith(b"POST /hook HTTP/1.1\r\n")
    assert f"host: chat.bank.example:{port}".encode() in head.lower()


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    async with server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as (inside, reached):
        moved = f"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:{inside}/admin\r\ncontent-length: 0\r\n\r\n"
        async with server(moved.encode()) as (port, _):
            client = OutboundClient(allowed=LOOPBACK)
            assert await client.post(f"http://127.0.0.1:{port}/", b"", {}) == (307, None)
    assert reached == []


async def test_an_endless_or_silent_answer_holds_nobody_up() -> None:
    endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"ffff\r\n" + b"x" * 0xFFFF
    async with server(endless) as (port, _):
        assert await OutboundClient(allowed=LOOPBACK).post(f"http://127.0.0.1:{port}/", b"", {}) == (200, None)
    async with server(b"") as (port, _):
        with pytest.raises((TimeoutError, httpx.HTTPError)):
            await OutboundClient(allowed=LOOPBACK, seconds=0.5).post(f"http://127.0.0.1:{port}/", b"", {})


async def test_the_systems_resolver_says_every_address() -> None:
    assert ip_address("127.0.0.1") in await resolve("127.0.0.1", 80)
