"""The demo's own identity provider: hands a token for any role to whoever asks, and so exists in the demo only."""

import json
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import OKPKey
from pydantic import BaseModel, Field, model_validator

from shared.auth.principal import Role
from shared.clock import Clock, system_clock
from shared.ids import new_id
from shared.settings import Environment

ALGORITHM = "Ed25519"
A_DAY = timedelta(hours=24)


class DemoIssuerOutsideDemo(RuntimeError):
    """Somebody tried to start the demo's issuer where real customers may be."""

    def __init__(self, environment: str) -> None:
        super().__init__(
            f"The demo issuer gives a token to whoever asks and does not start with"
            f" BRANCHLINE_ENVIRONMENT={environment}. Name the bank's identity provider in BRANCHLINE_OIDC_ISSUER."
        )


class DemoIssuer:
    """Signs tokens with an Ed25519 key that it makes on first use in `folder`, readable to its owner only."""

    def __init__(
        self, *, environment: Environment, folder: Path, issuer: str, audience: str, clock: Clock = system_clock
    ) -> None:
        if environment is not Environment.DEMO:
            raise DemoIssuerOutsideDemo(environment)
        self.issuer = issuer
        self.audience = audience
        self.clock = clock
        self.key = _key(folder / "demo_issuer.jwk")

    def mint(
        self,
        role: Role,
        *,
        staff_id: str | None = None,
        branch_id: str | None = None,
        scopes: Iterable[str] = (),
        ttl: timedelta = A_DAY,
    ) -> str:
        """A signed token; its subject is the staff id, or the role where nobody is named."""
        now = int(self.clock().timestamp())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": staff_id or role,
            "role": role,
            "iat": now,
            "nbf": now,
            "exp": now + int(ttl.total_seconds()),
            "jti": str(new_id()),
        }
        if branch_id:
            claims["branch"] = branch_id
        if scope := " ".join(sorted(scopes)):
            claims["scope"] = scope
        return jwt.encode({"alg": ALGORITHM, "kid": self.key.kid}, claims, self.key, algorithms=[ALGORITHM])


def _key(path: Path) -> OKPKey:
    """The key in `path`; the first of those who find none writes it, and all read that one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        made = OKPKey.generate_key("Ed25519", {"use": "sig", "alg": ALGORITHM}, auto_kid=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{new_id()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(made.as_dict(private=True), file)
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    path.chmod(0o600)
    return OKPKey.import_key(json.loads(path.read_text()))


class TokenRequest(BaseModel):
    """Whom the token is for."""

    role: Role = Field(examples=["manager"])
    staff_id: str | None = Field(default=None, min_length=1, max_length=100, examples=["M0107"])
    branch_id: str | None = Field(default=None, min_length=1, max_length=100, examples=["B01"])
    scopes: list[str] = Field(default=[], max_length=20, examples=[["corebanking:write"]])
    seconds: int = Field(default=int(A_DAY.total_seconds()), ge=1, le=int(A_DAY.total_seconds()))

    @model_validator(mode="after")
    def _whose(self) -> "TokenRequest":
        if self.role is Role.MANAGER and not self.staff_id:
            raise ValueError("a manager's token names the staff_id")
        if self.role is Role.BRANCH_HEAD and not self.branch_id:
            raise ValueError("a branch head's token names the branch_id")
        return self


class TokenRead(BaseModel):
    """As OAuth 2 gives it (RFC 6749, 5.1)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the type's name
    expires_in: int


def create_issuer_app(issuer: DemoIssuer) -> FastAPI:
    """Discovery, keys and tokens; the demo puts it below the path that `issuer` names."""
    app = FastAPI(title="Demo identity provider", version="1", docs_url=None, redoc_url=None)

    @app.get("/.well-known/openid-configuration")
    async def read_configuration() -> dict[str, object]:
        """What OpenID Connect discovery asks for."""
        return {
            "issuer": issuer.issuer,
            "jwks_uri": f"{issuer.issuer}/jwks.json",
            "token_endpoint": f"{issuer.issuer}/token",
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }

    @app.get("/jwks.json")
    async def read_keys() -> dict[str, object]:
        """The public key."""
        return {"keys": [issuer.key.as_dict(private=False)]}

    @app.post("/token")
    async def mint_token(body: TokenRequest) -> TokenRead:
        """A token for any role, to anybody."""
        token = issuer.mint(
            body.role,
            staff_id=body.staff_id,
            branch_id=body.branch_id,
            scopes=body.scopes,
            ttl=timedelta(seconds=body.seconds),
        )
        return TokenRead(access_token=token, expires_in=body.seconds)

    return app
