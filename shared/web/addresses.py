"""From which address a request comes: the peer's, or what a trusted proxy says that it had it from.

`X-Forwarded-For` is believed from the right, one trusted proxy after the other: what a caller writes into it stands
further left than what the first of our own proxies adds, and is never reached.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

Network = IPv4Network | IPv6Network


class ClientAddress:
    """The outermost layer: whoever asks for `request.client` is told who it was that asked the first proxy."""

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self.app = app
        self.trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.trusted and scope["type"] == "http" and scope.get("client"):
            stated = ",".join(Headers(scope=scope).getlist("x-forwarded-for"))
            scope = {**scope, "client": (client_address(scope["client"][0], stated, self.trusted), 0)}
        await self.app(scope, receive, send)


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The nearest address that is none of our proxies'; the proxy's own where it states what is no address."""
    address = peer
    for stated in reversed(forwarded_for.split(",")):
        if not _is_trusted(address, trusted):
            break
        try:
            address = str(ip_address(stated.strip()))
        except ValueError:
            break
    return address


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in trusted)


def limited_as(address: str) -> str:
    """What is counted together: a whole /64 of IPv6, which one line has to itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and not parsed.ipv4_mapped:
        return str(IPv6Network((parsed, 64), strict=False))
    return address
