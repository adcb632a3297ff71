import asyncio
import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey, RSAKey

from shared.auth import tokens
from shared.auth.errors import IdentityProviderUnavailable, InvalidToken, TokenExpired
from shared.auth.principal import Role
from shared.auth.tokens import ATTEMPT_EVERY, KEEP_FOR, MAX_TOKEN_BYTES, REFRESH_AFTER, IssuerKeys, TokenVerifier
from tests.shared.auth.issuer import AUDIENCE, ED, ISSUER, NOW, RSA, Issuer, claims, signed

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def forged(header: dict[str, Any], signature: bytes = b"", **changes: Any) -> str:
    """A token put together by hand, as no library would."""
    return ".".join(
        (
            base64url(json.dumps(header).encode()),
            base64url(json.dumps(claims(**changes)).encode()),
            base64url(signature),
        )
    )


async def refusal(token: str, issuer: Issuer | None = None) -> str:
    with pytest.raises(InvalidToken) as refused:
        await (issuer or Issuer()).verifier.verify(token)
    assert refused.value.status == 401
    assert refused.value.headers["WWW-Authenticate"].startswith('Bearer realm="branchline", error="invalid_token"')
    return refused.value.detail


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA", "Ed25519"])
async def test_a_token_of_the_issuer_says_who_its_bearer_is(algorithm: str) -> None:
    principal = await Issuer().verifier.verify(signed(algorithm, scope="a b"))
    assert (principal.subject, principal.role, principal.staff_id) == ("M0107", Role.MANAGER, "M0107")
    assert (principal.branch_id, principal.scopes) == ("B01", frozenset("ab"))
    assert principal.expires_at == NOW + timedelta(seconds=300)


async def test_a_provider_with_ids_of_its_own_names_the_staff_and_the_role_in_claims() -> None:
    """As the realm in deploy/keycloak does."""
    subject = "6f1c2a34-5b6d-4e7f-8a9b-0c1d2e3f4a5b"
    principal = await Issuer().verifier.verify(signed(sub=subject, staff_id="M0107", role=["branch_head"]))
    assert (principal.subject, principal.staff_id, principal.role) == (subject, "M0107", Role.BRANCH_HEAD)
    core = await Issuer().verifier.verify(signed(sub=subject, staff_id="M0107", role=["service"]))
    assert core.staff_id is None, "a program is no staff, whatever else its token says"


async def test_a_program_is_no_staff() -> None:
    principal = await Issuer().verifier.verify(signed(sub="core", role="service", branch=None))
    assert (principal.staff_id, principal.branch_id) == (None, None)


async def test_an_unsigned_token_is_refused() -> None:
    for alg in ("none", "None", "NONE", ""):
        assert "alg" in await refusal(forged({"alg": alg, "kid": "rsa"}))
    assert "alg" in await refusal(forged({"alg": ["RS256"], "kid": "rsa"}))
    assert "not a JWT" in await refusal(forged({"kid": "rsa"}))


async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused() -> None:
    for secret in (RSA.as_pem(private=False), RSA.as_der(private=False)):
        header = {"alg": "HS256", "kid": "rsa"}
        unsigned = forged(header).rpartition(".")[0]
        signature = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
        assert "alg" in await refusal(f"{unsigned}.{base64url(signature)}")


async def test_a_key_verifies_only_what_its_kind_signs() -> None:
    token = jwt.encode({"alg": "RS256", "kid": "ed"}, claims(), RSA, algorithms=["RS256"])
    assert "does not sign" in await refusal(token)
    issuer = Issuer()
    issuer.keys[0]["alg"] = "RS512"
    assert "no key" in await refusal(signed(), issuer)


async def test_a_shared_secret_in_the_jwks_verifies_nothing() -> None:
    secret = OctKey.generate_key(256, {"kid": "shared"})
    issuer = Issuer()
    issuer.keys.append({**secret.as_dict(private=True)})
    assert "alg" in await refusal(jwt.encode({"alg": "HS256", "kid": "shared"}, claims(), secret), issuer)


@pytest.mark.filterwarnings("ignore:Key size")
async def test_a_weak_rsa_key_verifies_nothing() -> None:
    weak = RSAKey.generate_key(1024, {"kid": "weak"})
    token = jwt.encode({"alg": "RS256", "kid": "weak"}, claims(), weak)
    assert "no key" in await refusal(token, Issuer(weak, RSA))


async def test_an_encryption_key_verifies_nothing() -> None:
    issuer = Issuer()
    issuer.keys[0]["use"] = "enc"
    assert "no key" in await refusal(signed(), issuer)


async def test_the_key_that_a_token_brings_along_is_not_believed() -> None:
    own = OKPKey.generate_key("Ed25519", {"kid": "ed"})
    header = {"alg": "Ed25519", "kid": "ed", "jwk": own.as_dict(private=False), "jku": "https://evil.example/keys"}
    assert "signature" in await refusal(jwt.encode(header, claims(), own, algorithms=["Ed25519"]))


async def test_a_changed_token_is_refused() -> None:
    head, _, signature = signed().split(".")
    payload = base64url(json.dumps(claims(role="head_office")).encode())
    assert "signature" in await refusal(f"{head}.{payload}.{signature}")


@pytest.mark.parametrize("crit", [["exp"], ["b64"], ["https://bank.example/unknown"], [], "exp"])
async def test_what_a_token_calls_critical_is_not_passed_over(crit: object) -> None:
    header = {"alg": "RS256", "kid": "rsa", "crit": crit, "exp": 1, "b64": True}
    assert "crit" in await refusal(forged(header, b"x"))


@pytest.mark.parametrize("issuer", [[ISSUER], ISSUER + "/", ISSUER.upper(), "", {"iss": ISSUER}, None])
async def test_a_token_of_another_issuer_is_refused(issuer: object) -> None:
    assert "issuer" in await refusal(signed(iss=issuer))


@pytest.mark.parametrize("audience", [[AUDIENCE], [AUDIENCE, "other"], "other", "", "Branchline", None])
async def test_a_token_for_another_audience_or_for_several_is_refused(audience: object) -> None:
    assert "audience" in await refusal(signed(aud=audience))


async def test_an_expired_token_is_refused_after_the_leeway() -> None:
    now = int(NOW.timestamp())
    await Issuer().verifier.verify(signed(exp=now - 30))
    with pytest.raises(TokenExpired) as refused:
        await Issuer().verifier.verify(signed(exp=now - 31))
    assert (refused.value.status, refused.value.code) == (401, "token_expired")


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_token_that_is_not_valid_yet_is_refused_before_the_leeway(claim: str) -> None:
    in_time: dict[str, Any] = {claim: int(NOW.timestamp()) + 30}
    too_early: dict[str, Any] = {claim: int(NOW.timestamp()) + 31}
    await Issuer().verifier.verify(signed(**in_time))
    assert "not valid yet" in await refusal(signed(**too_early))


@pytest.mark.parametrize("expiry", [None, "2099-01-01", True, 1e300, float("nan")])
async def test_a_token_that_never_ends_is_refused(expiry: object) -> None:
    assert "exp is not an instant" in await refusal(signed(exp=expiry))


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\nb"},
        {"role": None},
        {"role": "root"},
        {"role": []},
        {"role": ["manager", "head_office"]},
        {"role": [["manager"]]},
        {"role": {"manager": True}},
        {"staff_id": ""},
        {"staff_id": ["M0107"]},
        {"staff_id": "M0107\n"},
        {"branch": 7},
        {"branch": ""},
    ],
)
async def test_a_token_that_does_not_say_who_is_refused(changes: dict[str, Any]) -> None:
    await refusal(signed(**changes))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "a.b.c.d.e",
        "\u00e9.b.c",
        "e30.e30.e30",
        f"{base64url(b'[1]')}.e30.",
        f"{base64url(b'[' * 5000)}.e30.",
        "x" * (MAX_TOKEN_BYTES + 1),
    ],
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    await refusal(token)


@pytest.mark.parametrize("header", [{"kid": None}, {"kid": ""}, {"kid": 7}, {"kid": "k" * 201}])
async def test_a_token_without_a_key_id_is_refused(header: dict[str, Any]) -> None:
    assert "kid" in await refusal(forged({"alg": "RS256", **header}, b"x"))


async def test_a_token_of_another_kind_is_refused() -> None:
    assert "typ" in await refusal(signed(header={"typ": "logout+jwt"}))
    await Issuer().verifier.verify(signed(header={"typ": "at+jwt"}))


async def test_keys_are_fetched_once_and_kept() -> None:
    issuer = Issuer()
    await asyncio.gather(*(issuer.verifier.verify(signed()) for _ in range(20)))
    await issuer.verifier.verify(signed("ES256"))
    assert issuer.asked == 1


async def test_a_rotated_key_is_found_while_running() -> None:
    issuer = Issuer(RSA)
    await issuer.verifier.verify(signed())
    issuer.seconds += ATTEMPT_EVERY
    issuer.keys = Issuer(ED).keys
    await issuer.verifier.verify(signed("Ed25519"))
    assert "no key" in await refusal(signed(), issuer)


async def test_a_flood_of_unknown_key_ids_asks_the_issuer_once_an_interval() -> None:
    issuer = Issuer()
    await issuer.verifier.verify(signed())
    issuer.seconds += ATTEMPT_EVERY
    flood = [forged({"alg": "RS256", "kid": f"unknown-{n}"}, b"x") for n in range(200)]
    for _ in range(3):
        refusals = await asyncio.gather(*(issuer.verifier.verify(token) for token in flood), return_exceptions=True)
        assert {type(each) for each in refusals} == {InvalidToken}
    assert issuer.asked == 2
    assert issuer.issuer_keys.keys.keys() == {"rsa", "ec", "ed"}, "nothing is kept of what was asked for"


async def test_a_slow_issuer_is_asked_one_thing_at_a_time() -> None:
    issuer = Issuer()
    issuer.answers.clear()
    waiting = [asyncio.create_task(issuer.verifier.verify(signed()))]
    for _ in range(3):
        await asyncio.sleep(0.01)
        issuer.seconds += ATTEMPT_EVERY
        waiting.append(asyncio.create_task(issuer.verifier.verify(signed())))
    await asyncio.sleep(0.01)
    assert issuer.asked == 1
    issuer.answers.set()
    assert {principal.subject for principal in await asyncio.gather(*waiting)} == {"M0107"}


async def test_an_issuer_that_never_answers_holds_nobody_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "FETCH_SECONDS", 0.05)
    issuer = Issuer()
    issuer.answers.clear()
    with pytest.raises(IdentityProviderUnavailable):
        await asyncio.wait_for(issuer.verifier.verify(signed()), 2)


async def test_old_keys_are_fetched_again_without_a_request_waiting() -> None:
    issuer = Issuer()
    await issuer.verifier.verify(signed())
    issuer.seconds += REFRESH_AFTER
    issuer.keys = Issuer(ED).keys
    await issuer.verifier.verify(signed())
    await asyncio.sleep(0.05)
    assert issuer.asked == 2
    assert "no key" in await refusal(signed(), issuer), "a withdrawn key ends with the next fetch"


async def test_known_keys_outlive_an_issuer_that_is_away_for_an_hour() -> None:
    issuer = Issuer()
    await issuer.verifier.verify(signed())
    issuer.away = True
    issuer.seconds += KEEP_FOR - 1
    await issuer.verifier.verify(signed())
    await asyncio.sleep(0.05)
    issuer.seconds += 1
    with pytest.raises(IdentityProviderUnavailable) as refused:
        await issuer.verifier.verify(signed())
    assert (refused.value.status, refused.value.code) == (503, "identity_provider_unavailable")


async def test_an_issuer_that_is_away_is_not_the_bearers_fault() -> None:
    issuer = Issuer()
    issuer.away = True
    for _ in range(3):
        with pytest.raises(IdentityProviderUnavailable):
            await issuer.verifier.verify(signed())
    assert issuer.asked == 1
    issuer.away = False
    issuer.seconds += ATTEMPT_EVERY
    await issuer.verifier.verify(signed())


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b'{"keys": 1}', b"\xff", b"[" * 5000, b'{"keys": []}' + b" " * 300_000]
)
async def test_a_jwks_that_is_none_is_not_believed(answer: bytes) -> None:
    issuer = Issuer()
    issuer.answer = answer
    with pytest.raises(IdentityProviderUnavailable):
        await issuer.verifier.verify(signed())


async def test_keys_that_are_not_understood_do_not_spoil_the_others() -> None:
    issuer = Issuer()
    issuer.keys[:0] = [{"kty": "AKP", "kid": "pq"}, {"kty": "RSA", "kid": "broken", "n": "x"}, {"kty": 7, "kid": "odd"}]
    await issuer.verifier.verify(signed())


async def test_a_request_that_gives_up_does_not_stop_the_fetch_for_the_others() -> None:
    issuer = Issuer()
    first = asyncio.create_task(issuer.verifier.verify(signed()))
    second = asyncio.create_task(issuer.verifier.verify(signed()))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).subject == "M0107"


async def test_the_discovery_document_says_where_the_keys_are() -> None:
    issuer = Issuer()
    keys = IssuerKeys(ISSUER, None, transport=issuer.issuer_keys.transport)
    await TokenVerifier(keys, audience=AUDIENCE, clock=lambda: NOW).verify(signed())


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"},
        {"issuer": ISSUER, "jwks_uri": "http://id.bank.example/keys"},
        {"issuer": ISSUER},
    ],
)
async def test_a_discovery_document_of_another_issuer_or_of_open_keys_is_not_believed(document: dict[str, str]) -> None:
    keys = {"keys": Issuer().keys}
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, json=document if "well-known" in request.url.path else keys)
    )
    verifier = TokenVerifier(IssuerKeys(ISSUER, None, transport=transport), audience=AUDIENCE, clock=lambda: NOW)
    with pytest.raises(IdentityProviderUnavailable):
        await verifier.verify(signed())


async def test_a_signature_is_verified_once_and_its_time_always(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, token = Issuer(), signed("Ed25519")
    verified: list[str] = []
    verify = TokenVerifier._verify

    async def count(verifier: TokenVerifier, text: str) -> object:
        verified.append(text)
        return await verify(verifier, text)

    monkeypatch.setattr(TokenVerifier, "_verify", count)
    first, again = [await issuer.verifier.verify(token) for _ in range(2)]
    assert (first, verified) == (again, [token])
    issuer.verifier.clock = lambda: NOW + timedelta(seconds=331)
    with pytest.raises(TokenExpired):
        await issuer.verifier.verify(token)
    issuer.verifier.clock = lambda: NOW - timedelta(seconds=31)
    assert "not valid yet" in await refusal(token, issuer)


async def test_a_token_that_was_verified_ends_with_its_key() -> None:
    issuer, token = Issuer(), signed("Ed25519")
    await issuer.verifier.verify(token)
    other = OKPKey.generate_key("Ed25519", {"kid": "ed"})
    for keys, why in (([other], "signature"), ([RSA], "no key")):
        issuer.keys = Issuer(*keys).keys
        issuer.seconds += REFRESH_AFTER
        await issuer.issuer_keys.find("rsa")
        await issuer.issuer_keys.find("ed")
        await asyncio.sleep(0.05)
        assert why in await refusal(token, issuer)


async def test_what_is_remembered_of_tokens_is_bounded_and_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MOST_VERIFIED", 3)
    issuer = Issuer()
    for number in range(5):
        token = signed("Ed25519", sub=f"M{number}")
        assert (await issuer.verifier.verify(token)).subject == f"M{number}"
    assert len(issuer.verifier._verified) == 3
    assert token.encode() not in issuer.verifier._verified
