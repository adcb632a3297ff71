"""Against an identity provider that is really served: found by discovery, rotated while tokens come in, flooded."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.auth.demo_issuer import DemoIssuer, create_issuer_app
from shared.auth.errors import IdentityProviderUnavailable, InvalidToken
from shared.auth.principal import Role
from shared.auth.tokens import ATTEMPT_EVERY, IssuerKeys, TokenVerifier
from shared.settings import Environment


class Provider:
    """Serves one issuer after the other under one address, and counts what it is asked for."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.app: ASGIApp
        self.asked: list[str] = []
        self.issuer: DemoIssuer

    def rotate(self, folder: Path) -> None:
        """A new key; the one before is forgotten."""
        self.issuer = DemoIssuer(environment=Environment.DEMO, folder=folder, issuer=self.url, audience="branchline")
        self.app = create_issuer_app(self.issuer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.asked.append(scope["path"])
        await self.app(scope, receive, send)


@asynccontextmanager
async def provided(folder: Path) -> AsyncIterator[Provider]:
    sock = socket.create_server(("127.0.0.1", 0))
    provider = Provider(sock.getsockname()[1])
    provider.rotate(folder)
    server = uvicorn.Server(uvicorn.Config(provider, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve([sock]))
    try:
        yield provider
    finally:
        server.should_exit = True
        await task


async def test_tokens_of_a_provider_are_verified_rotated_and_flooded_live(tmp_path: Path) -> None:
    seconds = [0.0]
    async with provided(tmp_path / "first") as provider:
        keys = IssuerKeys(provider.url, None, seconds=lambda: seconds[0])
        verifier = TokenVerifier(keys, audience="branchline")
        first = provider.issuer.mint(Role.MANAGER, staff_id="M0107")
        assert (await verifier.verify(first)).staff_id == "M0107"
        assert provider.asked == ["/.well-known/openid-configuration", "/jwks.json"]

        provider.rotate(tmp_path / "second")
        seconds[0] += ATTEMPT_EVERY
        program = await verifier.verify(provider.issuer.mint(Role.SERVICE, scopes=["corebanking:write"]))
        assert program.scopes == {"corebanking:write"}
        with pytest.raises(InvalidToken):
            await verifier.verify(first)

        provider.asked.clear()
        seconds[0] += ATTEMPT_EVERY
        strangers = [
            DemoIssuer(
                environment=Environment.DEMO, folder=tmp_path / f"{n}", issuer=provider.url, audience="branchline"
            ).mint(Role.HEAD_OFFICE)
            for n in range(40)
        ]
        refused = await asyncio.gather(*(verifier.verify(token) for token in strangers), return_exceptions=True)
        assert {type(each) for each in refused} == {InvalidToken}
        assert provider.asked == ["/.well-known/openid-configuration", "/jwks.json"], "one look for all of them"
    seconds[0] += 10_000
    with pytest.raises(IdentityProviderUnavailable):
        await verifier.verify(first)
