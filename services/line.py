"""The whole line in one process: four services, an issuer and a gateway, over any transport; for demo and tests."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.types import ASGIApp

from services.catalog import SERVICES, compose
from services.demo.gateway import create_gateway
from services.notification.settings import NotificationSettings
from shared.auth.demo_issuer import DemoIssuer, create_issuer_app
from shared.auth.tokens import IssuerKeys, TokenVerifier
from shared.clock import Clock, system_clock
from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres
from shared.keyring import AuditKeys, MasterKeyring
from shared.messaging.consumer import Source
from shared.messaging.records import Publisher
from shared.migrations import migrate
from shared.sealing.master_keys import MasterKeys
from shared.service import Platform, Service, build_app
from shared.settings import PlatformSettings


@dataclass(frozen=True)
class Transport:
    """How records go between the services."""

    publisher: Publisher
    source: Callable[[], Source]


@dataclass(frozen=True)
class Line:
    """`gateway` answers for all; `services` and `apps` are by name."""

    settings: PlatformSettings
    issuer: DemoIssuer
    databases: Mapping[str, Database]
    services: Mapping[str, Service]
    apps: Mapping[str, FastAPI]
    gateway: ASGIApp


async def provision(
    postgres: EmbeddedPostgres, prefix: str = "", *, master_keys: MasterKeyring | None = None
) -> dict[str, Database]:
    """A migrated database of each service with its two roles."""
    databases = {}
    for service in SERVICES:
        name, requests = f"{prefix}{service}", f"{service}_api"
        postgres.provision(name, service, requests)
        await migrate(service, postgres.url(service, name), master_keys=master_keys)
        databases[service] = Database(postgres.url(service, name), postgres.url(requests, name))
    return databases


@asynccontextmanager
async def running_line(
    settings: PlatformSettings,
    issuer: DemoIssuer,
    databases: Mapping[str, Database],
    transport: Transport,
    mails: ASGIApp,
    *,
    audit_keys: AuditKeys,
    master_keys: MasterKeys,
    notification: NotificationSettings,
    clock: Clock = system_clock,
) -> AsyncIterator[Line]:
    """Runs the services until the context ends; each then finishes what it has begun."""
    keys = IssuerKeys(settings.oidc_issuer, settings.jwks_url)
    platform = Platform(
        settings=settings,
        verifier=TokenVerifier(keys, audience=settings.oidc_audience, leeway_seconds=settings.token_leeway_seconds),
        publisher=transport.publisher,
        source=transport.source,
        audit_keys=audit_keys,
        master_keys=master_keys,
        clock=clock,
    )
    services = {name: compose(name, settings, notification=notification, clock=clock) for name in SERVICES}
    apps = {name: build_app(service, databases[name], platform) for name, service in services.items()}
    async with AsyncExitStack() as stack:
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        gateway = create_gateway(services, apps, create_issuer_app(issuer), mails)
        yield Line(settings, issuer, databases, services, apps, gateway)
