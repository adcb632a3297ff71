"""`branchline audit`: verifies the chains, signs where they end, exports rows, and drops what is old."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import httpx
import msgspec
import psycopg
import typer

from services.catalog import SERVICES
from services.demo.home import Home
from services.demo.tokens import TokenRefused, ask_for_token
from services.operator_databases import is_demo, known_services, owners_url
from services.operator_http import refuse
from shared.audit.checkpoints import Checkpoint, take_checkpoint
from shared.audit.exports import verify_export
from shared.audit.retention import DoesNotVerify, drop_before
from shared.audit.verification import Fault, Verified, verify_service
from shared.clock import system_clock
from shared.keyring import AuditKeys, UnfitKeys
from shared.settings import PlatformSettings

app = typer.Typer(no_args_is_help=True, help="Who read or changed whose record: verifies it, signs it, drops it.")

Services = Annotated[list[str] | None, typer.Argument(help=f"Which, of {', '.join(SERVICES)}; by default all.")]
T = TypeVar("T")


@app.command()
def verify(
    services: Services = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A file of `checkpoint`: finds what was cut off since. May be repeated.")
    ] = None,
) -> None:
    """Reads every row of every chain. Ends with 1 when one was edited, moved, removed, put in or cut off."""
    keys = audit_keys()
    checkpoints = [found for path in checkpoint or () for found in _read_checkpoints(path)]
    faulty = False
    for service in known_services(services):
        own = [found for found in checkpoints if found.service == service]
        verified = _answer(service, verify_service(owners_url(service), service, keys, own))
        faulty |= bool(verified.faults)
        _tell(verified)
    if faulty:
        raise typer.Exit(1)


@app.command(name="checkpoint")
def sign(
    services: Services = None,
    to: Annotated[Path | None, typer.Option(help="A new file; by default the standard output.")] = None,
) -> None:
    """Signs where every chain ends: keep it where who runs the database cannot reach it."""
    keys = audit_keys()
    now = datetime.now(UTC)
    taken = [
        _answer(service, take_checkpoint(owners_url(service), service, keys, now))
        for service in known_services(services)
    ]
    written = b"".join(msgspec.json.encode(checkpoint) + b"\n" for checkpoint in taken)
    if to is None:
        typer.echo(written.decode(), nl=False)
        return
    try:
        with to.open("xb") as file:
            file.write(written)
    except OSError as fault:
        raise refuse(f"{to} cannot be written ({fault.strerror}).") from None


@app.command()
def export(
    service: Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")],
    to: Annotated[Path, typer.Option(help="A new file.")],
    customer: Annotated[str | None, typer.Option(help="Only accesses to this customer's record.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="From this instant on, as 2026-11-01T00:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this instant.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="For a spreadsheet; cannot be verified as a whole.")] = False,
    url: Annotated[str | None, typer.Option(help="Where the services answer; by default the demo here.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="BRANCHLINE_TOKEN", help="Of the role auditor; by default one of the demo's.")
    ] = None,
) -> None:
    """Writes what an auditor asks for into a file, over the service's own API: it is recorded like any reading."""
    (name,) = known_services([service])
    where = url or PlatformSettings().public_url_of_demo
    query = {"customer_id": customer, "actor": actor, "from": first, "until": until, "format": "csv" if csv else None}
    try:
        bearer = token or ask_for_token(where, "auditor", None, None, [])
        with (
            httpx.Client(base_url=where, headers={"Authorization": f"Bearer {bearer}"}, timeout=60) as http,
            http.stream(
                "GET", f"/api/{name}/v1/audit/export", params={key: value for key, value in query.items() if value}
            ) as answer,
        ):
            if not answer.is_success:
                raise refuse(f"{where} answers {answer.status_code}.")
            with to.open("xb") as file:
                for part in answer.iter_bytes():
                    file.write(part)
    except TokenRefused as refusal:
        raise refuse(str(refusal)) from None
    except httpx.HTTPError as fault:
        raise refuse(f"{where} does not answer ({type(fault).__name__}).") from None
    except OSError as fault:
        raise refuse(f"{to} cannot be written ({fault.strerror}).") from None


@app.command(name="verify-export")
def check_export(file: Annotated[Path, typer.Argument(help="What `export` wrote, not as CSV.")]) -> None:
    """Verifies an export by the key: each row, and that none is missing at the end. Ends with 1 when one is wrong."""
    try:
        with file.open("rb") as lines:
            rows, faults = verify_export(lines, audit_keys())
    except OSError as fault:
        raise refuse(f"{file} cannot be read ({fault.strerror}).") from None
    typer.echo(f"{file}: {rows} rows; {f'{len(faults)} faults' if faults else 'all verify'}.")
    for found in faults:
        typer.echo(f"{file}: {found}", err=True)
    if faults:
        raise typer.Exit(1)


@app.command()
def drop(
    service: Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")],
    before: Annotated[str, typer.Option(help="The first month that stays, as 2019-12.")],
) -> None:
    """Drops whole months. The chains that go on after them still verify. Refuses when anything does not verify."""
    try:
        month = date.fromisoformat(f"{before}-01")
    except ValueError:
        raise refuse(f"{before} is no month, as 2019-12.") from None
    if month > system_clock().date().replace(day=1):
        raise refuse("only months that are over are dropped.")
    (name,) = known_services([service])
    try:
        months = _answer(name, drop_before(owners_url(name), name, audit_keys(), month, system_clock))
    except DoesNotVerify as refusal:
        _tell(refusal.verified)
        raise refuse("nothing is dropped of an audit that does not verify.") from None
    typer.echo(f"{name}: {months} months dropped.")


def _tell(verified: Verified) -> None:
    open_chains = f"; {verified.open_chains} have no end" if verified.open_chains else ""
    state = f"{len(verified.faults)} faults" if verified.faults else "all verify"
    typer.echo(f"{verified.service}: {verified.rows} rows in {verified.chains} chains{open_chains}; {state}.")
    for fault in verified.faults:
        typer.echo(f"{verified.service}: {_where(fault)}: {fault.code}: {fault.detail}", err=True)


def _where(fault: Fault) -> str:
    chain = f"chain {fault.chain_id}" if fault.chain_id else "checkpoint"
    row = f" row {fault.sequence}" if fault.sequence else ""
    return f"{chain}{row} at {fault.at.isoformat() if fault.at else '?'}"


def _read_checkpoints(path: Path) -> list[Checkpoint]:
    try:
        return [msgspec.json.decode(line, type=Checkpoint) for line in path.read_bytes().splitlines()]
    except (OSError, msgspec.MsgspecError) as fault:
        raise refuse(f"{path} is no checkpoint ({type(fault).__name__}).") from None


def audit_keys() -> AuditKeys:
    """As the services are told, or the demo's."""
    settings = PlatformSettings()
    own = Home(settings.home).audit_keys if is_demo() else None
    file = settings.audit_keys_file or (own if settings.audit_keys is None else None)
    try:
        return AuditKeys.read(settings.audit_keys, file)
    except UnfitKeys as fault:
        raise refuse(f"{fault}.") from None


def _answer(service: str, work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except psycopg.Error as fault:
        raise refuse(f"the database of {service} does not answer ({type(fault).__name__}).") from None
