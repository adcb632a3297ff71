import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from shared.auth.demo_issuer import DemoIssuer, DemoIssuerOutsideDemo, create_issuer_app
from shared.auth.errors import TokenExpired
from shared.auth.principal import Role
from shared.auth.tokens import IssuerKeys, TokenVerifier
from shared.settings import Environment

ISSUER = "http://127.0.0.1:8080"


def demo_issuer(folder: Path) -> DemoIssuer:
    return DemoIssuer(environment=Environment.DEMO, folder=folder, issuer=ISSUER, audience="branchline")


def verifier(issuer: DemoIssuer) -> TokenVerifier:
    """Finds the keys over the issuer's own HTTP, by discovery."""
    transport = httpx.ASGITransport(create_issuer_app(issuer))
    return TokenVerifier(IssuerKeys(ISSUER, None, transport=transport), audience="branchline", leeway_seconds=0)


async def test_its_tokens_are_accepted_by_discovery_like_any_issuers(tmp_path: Path) -> None:
    issuer = demo_issuer(tmp_path)
    token = issuer.mint(Role.MANAGER, staff_id="M0107", branch_id="B01", ttl=timedelta(hours=1))
    principal = await verifier(issuer).verify(token)
    assert (principal.role, principal.staff_id, principal.branch_id) == (Role.MANAGER, "M0107", "B01")
    core = await verifier(issuer).verify(issuer.mint(Role.SERVICE, scopes=["corebanking:write"]))
    assert (core.staff_id, core.scopes) == (None, frozenset({"corebanking:write"}))
    with pytest.raises(TokenExpired):
        await verifier(issuer).verify(issuer.mint(Role.MANAGER, ttl=timedelta(seconds=-1)))


def test_it_does_not_start_outside_the_demo(tmp_path: Path) -> None:
    with pytest.raises(DemoIssuerOutsideDemo, match="BRANCHLINE_OIDC_ISSUER"):
        DemoIssuer(environment=Environment.PRODUCTION, folder=tmp_path, issuer=ISSUER, audience="branchline")
    assert not list(tmp_path.iterdir()), "no key is left behind"


async def test_its_key_survives_a_restart_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    token = demo_issuer(folder).mint(Role.HEAD_OFFICE)
    await verifier(demo_issuer(folder)).verify(token)
    (key,) = folder.iterdir()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o644)
    demo_issuer(folder)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_processes_that_start_together_use_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        issuers = list(pool.map(lambda _: demo_issuer(tmp_path), range(8)))
    assert len({issuer.key.kid for issuer in issuers}) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_that_another_process_wrote_meanwhile_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo_issuer(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert demo_issuer(tmp_path).key.kid == first.key.kid


async def test_it_never_shows_its_private_key(tmp_path: Path) -> None:
    app = create_issuer_app(demo_issuer(tmp_path))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ISSUER) as client:
        (key,) = (await client.get("/jwks.json")).json()["keys"]
    assert "d" not in key
    assert key.keys() >= {"kty", "crv", "x", "kid", "alg"}


async def test_it_hands_out_tokens_over_http_for_who_is_named(tmp_path: Path) -> None:
    issuer = demo_issuer(tmp_path)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_issuer_app(issuer)), base_url=ISSUER) as client:
        answer = await client.post("/token", json={"role": "manager", "staff_id": "M0107", "seconds": 60})
        unnamed = await client.post("/token", json={"role": "manager"})
        unknown = await client.post("/token", json={"role": "root"})
    assert (unnamed.status_code, unknown.status_code) == (422, 422)
    principal = await verifier(issuer).verify(answer.json()["access_token"])
    assert principal.staff_id == "M0107"
    assert principal.expires_at is not None
    assert principal.expires_at - datetime.now(UTC) < timedelta(seconds=61)
