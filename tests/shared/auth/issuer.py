"""An identity provider whose keys, answers and clock a test decides."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from shared.auth.tokens import IssuerKeys, TokenVerifier

ISSUER = "https://id.bank.example/realms/staff"
JWKS_URL = "https://id.bank.example/keys"
AUDIENCE = "branchline"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)

RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
SIGNERS: dict[str, tuple[Key, str]] = {
    "RS256": (RSA, "rsa"),
    "ES256": (EC, "ec"),
    "Ed25519": (ED, "ed"),
    "EdDSA": (ED, "ed"),
}


class Issuer:
    """Serves a JWKS over a transport of its own, and counts who asks."""

    def __init__(self, *keys: Key) -> None:
        self.keys: list[dict[str, Any]] = [dict(key.as_dict(private=False)) for key in keys or (RSA, EC, ED)]
        self.asked = 0
        self.away = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.answer: bytes | None = None
        self.seconds = 0.0
        self.issuer_keys = IssuerKeys(
            ISSUER, JWKS_URL, transport=httpx.MockTransport(self._serve), seconds=lambda: self.seconds
        )
        self.verifier = TokenVerifier(self.issuer_keys, audience=AUDIENCE, leeway_seconds=30, clock=lambda: NOW)

    async def _serve(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise httpx.ConnectError("refused", request=request)
        if request.url.path.endswith("/.well-known/openid-configuration"):
            return httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": JWKS_URL})
        keys = json.dumps({"keys": self.keys}).encode()
        return httpx.Response(200, content=keys if self.answer is None else self.answer)


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; None takes one away."""
    now = int(NOW.timestamp())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "M0107",
        "role": "manager",
        "branch": "B01",
        "iat": now,
        "nbf": now,
        "exp": now + 300,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(algorithm: str = "RS256", *, header: dict[str, Any] | None = None, **changes: Any) -> str:
    key, key_id = SIGNERS[algorithm]
    head = {"alg": algorithm, "kid": key_id, **(header or {})}
    return jwt.encode(head, claims(**changes), key, algorithms=[algorithm])
