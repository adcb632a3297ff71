"""Calls to addresses that are configured by others than the operator: webhooks. They reach nothing of our own.

A target is refused (SSRF, OWASP API7:2023) when any address of its name is private, loopback, link-local or otherwise
not on the Internet, IPv4 written into IPv6 included, unless the operator allows the network by name. The connection
goes to the address that was checked, so that a name that answers differently the second time gains nothing; TLS checks
the name. Redirects are not followed, proxies of the environment not used, and of the answer only the status and
Retry-After are told.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

import httpx

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]

NAT64 = IPv6Network("64:ff9b::/96")
PORTS = frozenset({443, 8443})


class ForbiddenTarget(Exception):
    """The target must not be called; `code` says why and is stable."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def resolve(host: str, port: int) -> Sequence[Address]:
    """Every address of a name, in the order to try them. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


def is_public(address: Address) -> bool:
    """Whether it is somebody else's on the Internet, also where it is IPv4 in IPv6's clothes."""
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo and address.teredo[1])
        if address in NAT64 or address in IPv6Network("::/96"):
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded and not is_public(embedded):
            return False
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class Reply(NamedTuple):
    """`retry_after` is the header as it was sent."""

    status: int
    retry_after: str | None = None


class OutboundClient:
    """Posts to targets that others configure. `allowed` are networks of the bank's own that may be reached as well."""

    def __init__(
        self,
        *,
        allowed: Sequence[Network] = (),
        seconds: float = 10,
        resolver: Resolver = resolve,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.allowed = allowed
        self.seconds = seconds
        self.resolver = resolver
        self.transport = transport

    async def check(self, url: str) -> tuple[httpx.URL, Sequence[Address]]:
        """The target and the addresses at which it may be called: when it is configured, and before every call.

        Raises ForbiddenTarget, OSError when the name has no address.
        """
        target = _parsed(url)
        port = target.port or (443 if target.scheme == "https" else 80)
        try:
            addresses = await self.resolver(target.host, port)
        except UnicodeError:  # a label that is too long, to Python's own encoding of names
            raise ForbiddenTarget("not_a_url") from None
        if not addresses:
            raise ForbiddenTarget("no_address")
        for address in addresses:
            is_ours = any(address in network for network in self.allowed)
            if not is_ours and not is_public(address):
                raise ForbiddenTarget("not_public")
            if not is_ours and (target.scheme != "https" or port not in PORTS):
                raise ForbiddenTarget("not_https")
        return target, addresses

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Reply:
        """What was answered, 3xx as well; no body is read.

        Raises ForbiddenTarget, OSError, TimeoutError, httpx.HTTPError.
        """
        async with asyncio.timeout(self.seconds):
            target, addresses = await self.check(url)
            stated = {**headers, "Host": target.netloc.decode("ascii")}
            # trust_env: a proxy would resolve the name again. A new client each time: no connection is kept for a name.
            async with httpx.AsyncClient(transport=self.transport, trust_env=False, follow_redirects=False) as client:
                for number, address in enumerate(addresses, 1):
                    request = client.build_request(
                        "POST",
                        target.copy_with(host=str(address)),
                        content=content,
                        headers=stated,
                        extensions={"sni_hostname": target.host},
                    )
                    try:
                        answer = await client.send(request, stream=True)
                    except httpx.ConnectError:
                        if number == len(addresses):
                            raise
                        continue
                    await answer.aclose()
                    return Reply(answer.status_code, answer.headers.get("retry-after"))
        raise AssertionError("a target has an address")


def _parsed(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL:
        raise ForbiddenTarget("not_a_url") from None
    if target.scheme not in ("https", "http") or not target.host or not url.isascii():
        raise ForbiddenTarget("not_a_url")
    if target.userinfo:
        raise ForbiddenTarget("has_credentials")
    # 2130706433, 0x7f.1, 0177.0.0.1 and 127.1 are addresses to a resolver and names to a reader.
    last = target.host.rstrip(".").rpartition(".")[2]
    if ":" not in target.host and (last.isdecimal() or last.lower().startswith("0x")):
        try:
            if str(ip_address(target.host)) != target.host:
                raise ValueError
        except ValueError:
            raise ForbiddenTarget("odd_address") from None
    return target
