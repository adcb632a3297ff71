"""Verifies bearer tokens: JWTs (RFC 7519, RFC 8725) of one issuer, with keys from its JWKS, rotated live."""

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, extract_compact

from shared.auth.errors import IdentityProviderUnavailable, InvalidToken, TokenExpired
from shared.auth.principal import Principal, Role
from shared.clock import Clock, system_clock

log = structlog.get_logger(__name__)

ALGORITHMS = ("RS256", "ES256", "EdDSA", "Ed25519")
MAX_TOKEN_BYTES = 8192
MAX_DOCUMENT_BYTES = 262_144

REFRESH_AFTER = 300.0
"""Seconds after which the keys are fetched again."""
KEEP_FOR = 3600.0
"""Seconds for which keys that could not be fetched again are still trusted."""
ATTEMPT_EVERY = 5.0
"""Seconds between two attempts, whatever key ids are asked for: a flood of unknown ones stays here."""

FETCH_SECONDS = 3.0

MOST_VERIFIED = 10_000
"""Tokens whose verified signatures are remembered, by their hash."""


@dataclass(frozen=True)
class VerificationKey:
    key: Key
    algorithms: frozenset[str]
    """What this kind of key may have signed; an RSA key verifies no HMAC."""


class KeysUnavailable(Exception):
    """The issuer's keys could not be fetched."""


class IssuerKeys:
    """An issuer's public keys by key id.

    One fetch at a time, shared by all who wait, and at most one every `ATTEMPT_EVERY` seconds. Keys past
    `REFRESH_AFTER` are fetched again behind the requests' back and serve until they are `KEEP_FOR` old.
    """

    def __init__(
        self,
        issuer: str,
        jwks_url: str | None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self.jwks_url = jwks_url
        self.transport = transport
        self.seconds = seconds
        self.keys: dict[str, VerificationKey] = {}
        self.fetched_at = float("-inf")
        self.attempted_at = float("-inf")
        self.failed = False
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> VerificationKey | None:
        """None if the issuer has no such key. Raises KeysUnavailable when it could not be asked."""
        age = self.seconds() - self.fetched_at
        if age >= KEEP_FOR:
            self.keys = {}
        if key := self.keys.get(key_id):
            if age >= REFRESH_AFTER:
                self._fetch_soon()
            return key
        if fetching := self._fetch_soon():
            await asyncio.shield(fetching)
        if key := self.keys.get(key_id):
            return key
        if self.failed:
            raise KeysUnavailable
        return None

    def _fetch_soon(self) -> asyncio.Task[None] | None:
        if self._fetching is None and self.seconds() - self.attempted_at >= ATTEMPT_EVERY:
            self.attempted_at = self.seconds()
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                httpx.AsyncClient(transport=self.transport, timeout=FETCH_SECONDS, trust_env=False) as client,
            ):
                url = self.jwks_url or await self._discover(client)
                self.keys = _verification_keys(await _document(client, url))
            self.fetched_at = self.seconds()
            self.failed = False
        except (httpx.HTTPError, KeysUnavailable, TimeoutError) as exception:
            self.failed = True
            log.warning("issuer_keys_unavailable", issuer=self.issuer, exc_info=exception)
        finally:
            self._fetching = None

    async def _discover(self, client: httpx.AsyncClient) -> str:
        document = await _document(client, f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        url = document.get("jwks_uri")
        if document.get("issuer") != self.issuer or not isinstance(url, str) or not _is_confidential(url):
            raise KeysUnavailable
        return url


def _is_confidential(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost"))


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with client.stream("GET", url) as response:
        response.raise_for_status()
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > MAX_DOCUMENT_BYTES:
                raise KeysUnavailable
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise KeysUnavailable from None
    if not isinstance(document, dict):
        raise KeysUnavailable
    return document


def _verification_keys(document: Mapping[str, Any]) -> dict[str, VerificationKey]:
    """The keys of a JWKS that sign tokens; others, and those that are not understood, are left out (RFC 7517, 5)."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise KeysUnavailable
    found: dict[str, VerificationKey] = {}
    for jwk in listed:
        if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or not isinstance(jwk.get("kid"), str):
            continue
        try:
            key = JWKRegistry.import_key(jwk)
        except (JoseError, ValueError, TypeError):
            continue
        algorithms = _algorithms(key)
        if isinstance(stated := jwk.get("alg"), str):
            algorithms &= {stated}
        if algorithms:
            found[jwk["kid"]] = VerificationKey(key, frozenset(algorithms))
    return found


def _algorithms(key: Key) -> set[str]:
    match key:
        case RSAKey() if key.raw_value.key_size >= 2048:
            return {"RS256"}
        case ECKey() if key.curve_name == "P-256":
            return {"ES256"}
        case OKPKey() if key.curve_name == "Ed25519":
            return {"EdDSA", "Ed25519"}
    return set()


@dataclass(frozen=True)
class _Verified:
    """A token whose signature was verified with `key`."""

    key_id: str
    key: VerificationKey
    claims: Mapping[str, Any]
    principal: Principal


class TokenVerifier:
    def __init__(
        self,
        keys: IssuerKeys,
        *,
        audience: str,
        leeway_seconds: float = 30,
        clock: Clock = system_clock,
    ) -> None:
        self.keys = keys
        self.audience = audience
        self.leeway = leeway_seconds
        self.clock = clock
        self.registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()

    async def verify(self, token: str) -> Principal:
        """Raises InvalidToken, TokenExpired, IdentityProviderUnavailable.

        A signature is verified once, and again when the issuer's keys were fetched again: a key that is gone lets
        nobody in. What depends on the time is looked at each time.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._verified.get(digest)
        if known is not None:
            if await self._find(known.key_id) is known.key:
                self._check_time(known.claims)
                return known.principal
            self._verified.pop(digest, None)
        verified = await self._verify(token)
        self._verified[digest] = verified
        if len(self._verified) > MOST_VERIFIED:
            self._verified.popitem(last=False)
        return verified.principal

    async def _find(self, key_id: str) -> VerificationKey | None:
        try:
            return await self.keys.find(key_id)
        except KeysUnavailable:
            raise IdentityProviderUnavailable from None

    async def _verify(self, token: str) -> _Verified:
        key_id, algorithm = _header(token)
        found = await self._find(key_id)
        if found is None:
            raise InvalidToken("The issuer has no key of the token's kid.")
        if algorithm not in found.algorithms:
            raise InvalidToken("The token's key does not sign with the token's alg.")
        try:
            claims = jwt.decode(token, found.key, registry=self.registry).claims
        except (JoseError, ValueError, RecursionError):
            raise InvalidToken("The token's signature is not its issuer's.") from None
        self._check_time(claims)
        if claims.get("iss") != self.keys.issuer:
            raise InvalidToken("The token is another issuer's.")
        if claims.get("aud") != self.audience:
            raise InvalidToken("The token is for another audience; a list of audiences is not accepted.")
        return _Verified(key_id, found, claims, _principal(claims))

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        now = self.clock().timestamp()
        if now > _instant(claims, "exp") + self.leeway:
            raise TokenExpired
        for claim in ("nbf", "iat"):
            if claim in claims and now < _instant(claims, claim) - self.leeway:
                raise InvalidToken("The token is not valid yet.")


def _header(token: str) -> tuple[str, str]:
    """The key id and the algorithm that the token names, before anything is believed."""
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidToken(f"The token is longer than {MAX_TOKEN_BYTES} bytes.")
    try:
        header = extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError, RecursionError):
        raise InvalidToken("The token is not a JWT.") from None
    if header.get("alg") not in ALGORITHMS:
        raise InvalidToken(f"The token's alg is none of {', '.join(ALGORITHMS)}.")
    if "crit" in header:
        raise InvalidToken("The token's crit names what is not understood here.")
    if str(header.get("typ", "JWT")).lower() not in ("jwt", "at+jwt"):
        raise InvalidToken("The token's typ is not that of an access token.")
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not 1 <= len(key_id) <= 200:
        raise InvalidToken("The token has no kid.")
    return key_id, header["alg"]


def _instant(claims: Mapping[str, Any], claim: str) -> float:
    value = claims.get(claim)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e11:
        raise InvalidToken(f"The token's {claim} is not an instant.")
    return value


def _principal(claims: Mapping[str, Any]) -> Principal:
    subject = _name(claims, "sub", longest=200)
    if subject is None:
        raise InvalidToken("The token's sub is not a name.")
    acting = claims["act"].get("sub", "") if isinstance(claims.get("act"), dict) else claims.get("act")
    if acting is not None and not (isinstance(acting, str) and 1 <= len(acting) <= 200 and acting.isprintable()):
        raise InvalidToken("The token's act does not name who acts.")
    role = _role(claims.get("role"))
    scope = claims.get("scope", "")
    return Principal(
        subject=subject,
        role=role,
        # Where the provider's subjects are its own ids and not the bank's, a claim says who of the staff it is.
        staff_id=None if role is Role.SERVICE else _name(claims, "staff_id", longest=200) or subject,
        branch_id=_name(claims, "branch", longest=100),
        scopes=frozenset(scope.split()) if isinstance(scope, str) else frozenset(),
        acting=acting,
        expires_at=datetime.fromtimestamp(_instant(claims, "exp"), UTC),
    )


def _role(stated: object) -> Role:
    """Providers that keep roles as sets give a list of one; of two nobody could say which counts."""
    if isinstance(stated, list) and len(stated) == 1:
        stated = stated[0]
    if not isinstance(stated, str) or stated not in list(Role):
        raise InvalidToken("The token's role is not one that is known.")
    return Role(stated)


def _name(claims: Mapping[str, Any], claim: str, *, longest: int) -> str | None:
    value = claims.get(claim)
    if value is not None and not (isinstance(value, str) and 1 <= len(value) <= longest and value.isprintable()):
        raise InvalidToken(f"The token's {claim} is not a name.")
    return value
