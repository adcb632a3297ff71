"""Services one by one: each its own process, on Kafka and its own PostgreSQL, configured by the environment."""

from collections.abc import Sequence

import structlog
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog import compose
from services.serving import Server, end_streams, listen
from services.startup import UnfitSettings, refuse_unfit_settings
from shared import telemetry
from shared.auth.demo_issuer import DemoIssuer, create_issuer_app
from shared.auth.tokens import IssuerKeys, TokenVerifier
from shared.batch_memory import expect_batches
from shared.database import Database
from shared.events import TOPICS
from shared.keyring import AuditKeys, MasterKeyring, UnfitKeys
from shared.messaging.kafka import KafkaPublisher, KafkaSource, create_topics
from shared.messaging.kafka_connection import kafka_connection
from shared.migrations import migrate
from shared.sealing.master_keys import LocalMasterKeys
from shared.sealing.rotation import MasterKeyMissing, refuse_missing_master_key
from shared.secret_files import Settings
from shared.service import Platform, build_app
from shared.settings import PlatformSettings
from shared.watchdog import Watchdog

log = structlog.get_logger(__name__)


class DatabaseSettings(Settings):
    """Read with the service's prefix: CUSTOMER_DATABASE_URL, CUSTOMER_REQUESTS_DATABASE_URL, …"""

    model_config = SettingsConfigDict(extra="ignore", use_attribute_docstrings=True)

    database_url: str
    """The owner's: migrations, deliveries and jobs. postgresql://user:password@host/database"""
    requests_database_url: str
    """The requests' role, under row-level security."""
    database_pool_size: int = Field(default=5, ge=1)
    """Connections that each of the two keeps open, and may open beside them."""


def database_settings(service: str) -> DatabaseSettings:
    return DatabaseSettings(_env_prefix=f"{service.upper()}_")  # type: ignore[call-arg] # pydantic-settings' own


async def serve_service(name: str, settings: PlatformSettings, host: str, port: int) -> None:
    """Runs until SIGTERM; then finishes what has begun and leaves its consumer group."""
    telemetry.configure(name, level=settings.log_level)
    kafka = kafka_connection(settings)
    if kafka is None:
        raise SystemExit("branchline: BRANCHLINE_KAFKA is not set; a service by itself needs Kafka.")
    urls = database_settings(name)
    service = compose(name, settings)
    try:
        refuse_unfit_settings(name, settings, service.settings, urls.database_url, urls.requests_database_url)
    except UnfitSettings as unfit:
        raise SystemExit(f"branchline: {name} does not start like this:\n{unfit}") from None
    try:
        audit_keys = AuditKeys.read(settings.audit_keys, settings.audit_keys_file)
        master_keys = LocalMasterKeys(MasterKeyring.read(settings.master_keys, settings.master_keys_file))
    except UnfitKeys as fault:
        raise SystemExit(f"branchline: {fault}.") from None
    database = Database(urls.database_url, urls.requests_database_url, pool_size=urls.database_pool_size)
    try:
        async with AsyncSession(database.jobs) as session:
            await refuse_missing_master_key(session, master_keys)
    except OperationalError as fault:  # it is waited for like at any other time; until then nothing is ready
        log.warning("database_away", service=name, fault=type(fault.orig).__name__)
    except MasterKeyMissing as fault:
        await database.close()
        raise SystemExit(f"branchline: {name} does not start: {fault}.") from None
    keys = IssuerKeys(settings.oidc_issuer, settings.jwks_url)
    publisher = KafkaPublisher(kafka)
    platform = Platform(
        settings=settings,
        verifier=TokenVerifier(keys, audience=settings.oidc_audience, leeway_seconds=settings.token_leeway_seconds),
        publisher=publisher,
        source=lambda: KafkaSource(kafka),
        watchdog=Watchdog(),
        audit_keys=audit_keys,
        master_keys=master_keys,
    )
    app = build_app(service, database, platform)
    expect_batches()
    await Server(app, on_exit=lambda: end_streams(app)).serve([listen(host, port)])
    await publisher.close()


async def migrate_all(services: Sequence[str], settings: PlatformSettings, revision: str) -> None:
    stated = settings.master_keys or settings.master_keys_file
    master_keys = MasterKeyring.read(settings.master_keys, settings.master_keys_file) if stated else None
    for service in services:
        await migrate(service, database_settings(service).database_url, revision, master_keys=master_keys)
    kafka = kafka_connection(settings)
    if kafka is not None:
        await create_topics(kafka, TOPICS, settings.partitions)


async def serve_demo_issuer(settings: PlatformSettings, host: str, port: int) -> None:
    """Raises DemoIssuerOutsideDemo."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    issuer = DemoIssuer(
        environment=settings.environment,
        folder=settings.home / "keys",
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
    )
    telemetry.configure("demo-issuer", level=settings.log_level)
    app = Starlette(routes=[Mount("/demo", create_issuer_app(issuer))])
    await Server(app, on_exit=lambda: None).serve([listen(host, port)])
