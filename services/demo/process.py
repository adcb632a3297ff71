"""The demo's process: PostgreSQL, the line, the mail sink, and then the sample bank."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from subprocess import SubprocessError
from typing import TypeVar

from pydantic import SecretStr
from rich.console import Console

from services.demo.home import Home
from services.demo.sample import SampleBank
from services.line import Transport, provision, running_line
from services.notification.settings import NotificationSettings, SmtpTls
from services.serving import Server, end_streams, listen
from shared import telemetry
from shared.auth.demo_issuer import DemoIssuer
from shared.batch_memory import expect_batches
from shared.embedded_postgres import EmbeddedPostgres, start_postgres
from shared.events import TOPICS
from shared.keyring import AuditKeys, Keyring, MasterKeyring
from shared.mail_sink import create_mail_app, smtp_sink
from shared.messaging.embedded import PARTITIONS, EmbeddedLog, EmbeddedSource
from shared.sealing.master_keys import LocalMasterKeys
from shared.settings import Environment, PlatformSettings

LOOK_AFTER_POSTGRES_SECONDS = 2.0


def demo_settings(settings: PlatformSettings) -> PlatformSettings:
    """The platform as the demo is: its own issuer, the embedded log's partitions."""
    url = f"http://127.0.0.1:{settings.port}"
    return settings.model_copy(
        update={
            "environment": Environment.DEMO,
            "public_url": url,
            "oidc_issuer": f"{url}/demo",
            "jwks_url": f"{url}/demo/jwks.json",
            "partitions": PARTITIONS,
            "kafka": None,
        }
    )


def demo_issuer(settings: PlatformSettings, home: Home) -> DemoIssuer:
    return DemoIssuer(
        environment=settings.environment,
        folder=home.keys,
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
    )


K = TypeVar("K", bound=Keyring)


def demo_keys(kind: type[K], stated: SecretStr | None, file: Path | None, own: Path) -> K:
    """Those that are set, or this demo's own, made at its first start."""
    if stated is None and file is None:
        if not own.exists():
            Home.write_secret(own, kind.generate("demo").written())
        return kind.read(None, own)
    return kind.read(stated, file)


async def run_demo(settings: PlatformSettings, home: Home, console: Console) -> None:
    """Runs until a signal. Raises OSError when the port is taken."""
    settings = demo_settings(settings)
    listening = listen(settings.host, settings.port)
    telemetry.configure("demo", level=settings.log_level, file=home.log)
    async with AsyncExitStack() as stack:
        stack.callback(listening.close)
        console.print("Starting PostgreSQL and the four services …", style="dim")
        postgres = await asyncio.to_thread(start_postgres, home.postgres)
        stack.push_async_callback(asyncio.to_thread, postgres.stop)
        master_keys = demo_keys(MasterKeyring, settings.master_keys, settings.master_keys_file, home.master_keys)
        databases = await provision(postgres, master_keys=master_keys)
        await asyncio.to_thread(postgres.provision, "log", "log")
        await stack.enter_async_context(_kept_running(postgres, console))
        log = await stack.enter_async_context(_log(postgres.url("log", "log")))
        smtp_port = await stack.enter_async_context(smtp_sink(environment=settings.environment, folder=home.mails))
        line = await stack.enter_async_context(
            running_line(
                settings,
                demo_issuer(settings, home),
                databases,
                Transport(log, lambda: EmbeddedSource(log)),
                create_mail_app(home.mails),
                audit_keys=demo_keys(AuditKeys, settings.audit_keys, settings.audit_keys_file, home.audit_keys),
                master_keys=LocalMasterKeys(master_keys),
                notification=NotificationSettings(smtp_port=smtp_port, smtp_tls=SmtpTls.NONE, webhooks=True),
            )
        )
        bank = asyncio.ensure_future(SampleBank(home, line, postgres, log, console).run())

        def stop() -> None:
            bank.cancel()
            end_streams(*line.apps.values())

        server = Server(line.gateway, on_exit=stop)
        expect_batches()
        bank.add_done_callback(lambda _: setattr(server, "should_exit", True))
        await server.serve([listening])
        console.print("\nStopping …", style="dim")
        with suppress(asyncio.CancelledError):
            await bank


@asynccontextmanager
async def _kept_running(postgres: EmbeddedPostgres, console: Console) -> AsyncIterator[None]:
    """The services wait for a database that is away; this brings it back."""

    async def watch() -> None:
        while True:
            await asyncio.sleep(LOOK_AFTER_POSTGRES_SECONDS)
            try:
                if await asyncio.to_thread(postgres.revive):
                    console.print("PostgreSQL had ended; it runs again, and nothing is lost.")
            except (SubprocessError, OSError):
                console.print("PostgreSQL has ended and does not start yet; trying again …")

    watching = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        watching.cancel()


@asynccontextmanager
async def _log(url: str) -> AsyncIterator[EmbeddedLog]:
    log = EmbeddedLog(url)
    await log.start(TOPICS)
    try:
        yield log
    finally:
        await log.close()
