"""Where a request comes from, whatever its sender writes into its headers."""

from ipaddress import ip_network

import pytest
from pydantic import ValidationError

from shared.settings import PlatformSettings
from shared.web.addresses import client_address, limited_as
from shared.web.limits import RateLimiter
from tests.shared.web.notes import Notes
from tests.shared.web.test_limits import Seconds

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "address"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "127.0.0.1, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.3, 10.0.0.2", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, <script>", "10.0.0.1"),
        ("testclient", "198.51.100.1", "testclient"),
    ],
)
def test_only_what_a_trusted_proxy_adds_is_believed(peer: str, forwarded_for: str, address: str) -> None:
    assert client_address(peer, forwarded_for, PROXIES) == address


def test_nobody_is_trusted_unless_named() -> None:
    assert client_address("127.0.0.1", "198.51.100.1", PlatformSettings().trusted_networks) == "127.0.0.1"


@pytest.mark.parametrize("stated", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "proxy", "10.0.0.0/8 192.168.0.0/16"])
def test_a_network_that_is_none_or_all_stops_the_start(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRANCHLINE_TRUSTED_PROXIES", stated)
    with pytest.raises(ValidationError):
        PlatformSettings()


def test_a_line_with_many_addresses_is_one() -> None:
    assert limited_as("2001:db8::1") == limited_as("2001:db8::ffff:1") != limited_as("2001:db8:0:1::1")
    assert limited_as("203.0.113.9") != limited_as("203.0.113.8")


async def test_one_address_is_limited_whoever_it_says_to_be_and_before_a_token_is_verified(notes: Notes) -> None:
    notes.app.state.address_limiter = RateLimiter(1, 2, of="address", seconds=Seconds())
    async with notes.http("M1") as client, notes.http("M2") as other:
        client.headers["X-Forwarded-For"] = "198.51.100.1"
        unknown = await client.get("/me", headers={"Authorization": "Bearer not-one"})
        second = await other.get("/me")
        other.headers["X-Forwarded-For"] = "198.51.100.2"
        third = await other.get("/me")
    assert (unknown.status_code, second.status_code, third.status_code) == (401, 200, 429)
    assert third.json()["code"] == "too_many_requests"
    assert third.headers["ratelimit-policy"] == '"address";q=2;w=2'
    assert third.headers["retry-after"] == "1"


async def test_a_parameter_that_is_not_known_is_refused(notes: Notes) -> None:
    async with notes.http("M1") as client:
        for query in ("limit=2&lmit=3", "is_open=true", "x[$gt]=1", "LIMIT=2", "lmit=1&lmit=2"):
            answer = await client.get(f"/notes?{query}")
            assert answer.status_code == 422, query
            (error,) = answer.json()["errors"]
            assert (error["in"], error["code"]) == ("query", "unknown_parameter")
        assert (await client.get("/me?x=1")).status_code == 422
        assert (await client.get("/notes?limit=2")).status_code == 200
