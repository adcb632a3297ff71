"""`branchline`: the demo, the services one by one, their migrations, tokens and feeds."""

import asyncio
import shutil
from pathlib import Path
from typing import Annotated

import typer

from services.audit_cli import app as audit
from services.backfill_cli import load_history
from services.catalog import SERVICES
from services.core_events_cli import app as core_events
from services.dead_letters_cli import app as dead_letters
from services.keys_cli import app as keys
from shared.settings import PlatformSettings

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Host = Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 in a container.")]
Port = Annotated[int, typer.Option(help="The port to listen on.")]


def main() -> None:
    app()


def refuse(reason: str) -> typer.Exit:
    """Says why not, in one line, and ends with 1."""
    typer.echo(f"branchline: {reason}", err=True)
    return typer.Exit(1)


@app.command()
def demo() -> None:
    """Runs the whole line on this machine and opens a sample bank. Ctrl-C stops it; nothing is lost."""
    from rich.console import Console

    from services.demo.home import Home, HomeInUse
    from services.demo.process import run_demo

    settings = PlatformSettings()
    home = Home(settings.home)
    try:
        with home.in_use():
            asyncio.run(run_demo(settings, home, Console()))
    except KeyboardInterrupt:
        typer.echo("Stopped before it was up; the next start goes on from here.")
    except HomeInUse:
        raise refuse(f"a demo is running in {settings.home} already.") from None
    except OSError as fault:
        if fault.errno is None or fault.filename is not None:
            raise
        where = f"{settings.host}:{settings.port}"
        raise refuse(f"cannot listen on {where} ({fault.strerror}). BRANCHLINE_PORT chooses another port.") from None


@app.command()
def demo_reset() -> None:
    """Forgets the demo's bank: its database, keys and mails."""
    from services.demo.home import Home, HomeInUse
    from shared.embedded_postgres import stop_postgres

    home = Home(PlatformSettings().home)
    try:
        with home.in_use():
            stop_postgres(home.postgres)
            shutil.rmtree(home.folder)
    except HomeInUse:
        raise refuse("the demo is running; stop it first.") from None
    typer.echo(f"Forgot the demo in {PlatformSettings().home}.")


@app.command()
def serve(
    service: Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")],
    host: Host = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """Runs one service on Kafka and its own PostgreSQL, as a container does."""
    from services.distributed import serve_service

    if service not in SERVICES:
        raise refuse(f"there is no service {service!r}; there are {', '.join(SERVICES)}.")
    asyncio.run(serve_service(service, PlatformSettings(), host, port))


@app.command()
def migrate(
    services: Annotated[list[str] | None, typer.Argument(help="Which services; by default all.")] = None,
    to: Annotated[str, typer.Option(help="A revision, `head`, `-1` or `base`.")] = "head",
) -> None:
    """Brings the services' databases to a revision and, where Kafka is named, makes the topics."""
    from services.distributed import migrate_all
    from shared.messaging.kafka import PartitionsDiffer

    try:
        asyncio.run(migrate_all(services or list(SERVICES), PlatformSettings(), to))
    except PartitionsDiffer as fault:
        raise refuse(f"{fault}; BRANCHLINE_PARTITIONS is fixed at installation.") from None


@app.command()
def check_migrations() -> None:
    """Builds each service's database from nothing, compares it with the models, takes it down and builds it again."""
    from services.migration_check import check_all_migrations

    for service, fault in asyncio.run(check_all_migrations()):
        typer.echo(f"{service}: {fault or 'ok'}")
        if fault:
            raise typer.Exit(1)


@app.command()
def token(
    role: Annotated[str, typer.Option(help="manager, branch_head, head_office, auditor, operator or service.")],
    branch: Annotated[str | None, typer.Option(help="A branch head's branch.")] = None,
    manager: Annotated[str | None, typer.Option(help="The staff id.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="What a service may do, as corebanking:write.")] = None,
    url: Annotated[str | None, typer.Option(help="Where the demo is; by default here.")] = None,
) -> None:
    """Prints a token of the running demo's issuer."""
    from services.demo.tokens import TokenRefused, ask_for_token

    try:
        typer.echo(ask_for_token(url or PlatformSettings().public_url_of_demo, role, branch, manager, scope or []))
    except TokenRefused as refusal:
        raise refuse(str(refusal)) from None


@app.command()
def demo_issuer(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Runs the demo's identity provider by itself. Refuses outside the demo."""
    from services.distributed import serve_demo_issuer
    from shared.auth.demo_issuer import DemoIssuerOutsideDemo

    try:
        asyncio.run(serve_demo_issuer(PlatformSettings(), host, port))
    except DemoIssuerOutsideDemo as refusal:
        raise refuse(str(refusal)) from None


@app.command()
def mail_sink(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    smtp_port: Annotated[int, typer.Option(help="The port for SMTP.")] = 2525,
) -> None:
    """Runs the demo's mail sink by itself: takes every mail and shows it. Refuses outside the demo."""
    from shared import telemetry
    from shared.mail_sink import MailSinkOutsideDemo, serve_mail_sink

    settings = PlatformSettings()
    telemetry.configure("mail-sink", level=settings.log_level)
    folder = settings.home / "mails"
    try:
        asyncio.run(serve_mail_sink(host, smtp_port, port, folder, environment=settings.environment))
    except MailSinkOutsideDemo as refusal:
        raise refuse(str(refusal)) from None


feed = typer.Typer(no_args_is_help=True, help="Turns a bank's files into core-banking events and pushes them.")
app.add_typer(feed, name="feed")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(core_events, name="core-events")
app.command("backfill")(load_history)
app.add_typer(audit, name="audit")
app.add_typer(keys, name="keys")


@feed.command()
def berka(
    folder: Annotated[Path, typer.Argument(help="The folder with account.asc, client.asc, disp.asc, trans.asc, …")],
    until: Annotated[str | None, typer.Option(help="Stops at a date, as 1993-12-31.")] = None,
    shift_to_now: Annotated[
        bool, typer.Option(help="Moves time by whole days: the last transaction is today.")
    ] = False,
    url: Annotated[str | None, typer.Option(help="Where the ingestion is; by default the demo here.")] = None,
    token: Annotated[str | None, typer.Option(envvar="BRANCHLINE_TOKEN", help="By default one of the demo's.")] = None,
) -> None:
    """Feeds the Berka bank (PKDD'99) through the public ingestion. Feeding twice changes nothing."""
    from services.demo.tokens import TokenRefused
    from services.feeding import FeedFailed, feed_berka

    settings = PlatformSettings()
    try:
        asyncio.run(feed_berka(folder, until, shift_to_now, url or settings.public_url_of_demo, token, settings.home))
    except (FeedFailed, TokenRefused) as fault:
        raise refuse(str(fault)) from None


@app.command()
def docs(
    check: Annotated[bool, typer.Option("--check", help="Only compares with what is checked in.")] = False,
) -> None:
    """Writes the documents that are generated from the code: API and event references, OpenAPI, AsyncAPI."""
    from services.documents import write_documents

    stale = write_documents(check=check)
    for path in stale:
        typer.echo(f"{'stale' if check else 'written'}: {path}")
    if stale and check:
        raise refuse("these differ from the code; `branchline docs` writes them.")


@app.command()
def record_release(
    release: Annotated[str | None, typer.Argument(help="As 0.2.0; by default the version of what runs.")] = None,
) -> None:
    """Records what the events are now in docs/releases; every later version is held to it."""
    from importlib.metadata import version

    from services.documents.releases import AlreadyRecorded, Altered, NotCompatible, record_release

    try:
        path = record_release(release or version("branchline"))
    except NotCompatible as refusal:
        for fault in refusal.faults:
            typer.echo(fault, err=True)
        raise refuse(f"{refusal}; publish a new version of the event beside the old one.") from None
    except (AlreadyRecorded, Altered) as refusal:
        raise refuse(str(refusal)) from None
    except ValueError:
        raise refuse(f"{release!r} is no version such as 0.2.0.") from None
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    main()
