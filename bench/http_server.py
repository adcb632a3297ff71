"""The process that serves one layer of `bench.http` until it is told to end."""

import asyncio
import sys
from pathlib import Path

import httpx
from pydantic import SecretStr

from bench.http_layers import Layer, layered_app
from services.serving import Server, end_streams, listen
from shared.audit.writer import AuditWriter
from shared.auth.demo_issuer import DemoIssuer, create_issuer_app
from shared.auth.tokens import IssuerKeys, TokenVerifier
from shared.batch_memory import expect_batches
from shared.database import Database
from shared.keyring import AuditKeys
from shared.sealing.data_keys import DataKeys
from shared.sealing.master_keys import LocalMasterKeys
from shared.settings import Environment, PlatformSettings
from tests.keys import MASTER_KEYS

POOL = 16


def settings() -> PlatformSettings:
    """One subject asks for more than any member of staff could."""
    return PlatformSettings(
        environment=Environment.DEMO,
        oidc_issuer="http://issuer.invalid",
        rate_limit_per_second=1e9,
        rate_limit_burst=1_000_000_000,
        address_limit_per_second=1e9,
        address_limit_burst=1_000_000_000,
        log_level="WARNING",
    )


def issuer(folder: Path) -> DemoIssuer:
    told = settings()
    return DemoIssuer(environment=told.environment, folder=folder, issuer=told.oidc_issuer, audience=told.oidc_audience)


async def serve(layer: Layer, port: int, jobs_url: str, requests_url: str, folder: Path, keys: str) -> None:
    told = settings()
    database = Database(jobs_url, requests_url, pool_size=POOL)
    database.data_keys = DataKeys(LocalMasterKeys(MASTER_KEYS))
    audit = AuditWriter("customer", database.requests.url, AuditKeys.read(SecretStr(keys), None))
    jwks = IssuerKeys(
        told.oidc_issuer,
        f"{told.oidc_issuer}/jwks.json",
        transport=httpx.ASGITransport(create_issuer_app(issuer(folder))),
    )
    app = layered_app(layer, told, database, TokenVerifier(jwks, audience=told.oidc_audience), audit)
    expect_batches()
    await Server(app, on_exit=lambda: end_streams(app)).serve([listen("127.0.0.1", port)])
    await audit.close()
    await database.close()


if __name__ == "__main__":
    _, layer, port, jobs_url, requests_url, folder, keys = sys.argv
    asyncio.run(serve(Layer(layer), int(port), jobs_url, requests_url, Path(folder), keys))
