"""`branchline keys`: makes a master key, and wraps the data keys with a new one."""

import asyncio
from typing import Annotated

import typer
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from services.audit_cli import audit_keys
from services.catalog import SERVICES
from services.demo.home import Home
from services.operator_databases import is_demo, known_services, owners_url
from services.operator_http import refuse
from shared.audit.records import Access, Action, Outcome
from shared.audit.writer import AuditAway, AuditWriter
from shared.database import Database
from shared.keyring import AuditKeys, MasterKeyring, UnfitKeys
from shared.sealing.master_keys import LocalMasterKeys, MasterKeys, MasterKeyUnknown, NotOpened
from shared.sealing.rotation import count_others, count_wrapped, rewrap
from shared.settings import PlatformSettings

app = typer.Typer(no_args_is_help=True, help="The master keys: makes one, and wraps the customers' keys with it.")

CHUNK = 1_000

Services = Annotated[list[str] | None, typer.Argument(help=f"Which, of {', '.join(SERVICES)}; by default all.")]


@app.command()
def generate(
    key_id: Annotated[str, typer.Option("--id", help="How it is told from others, as 2027.")],
) -> None:
    """Prints a new master key as `BRANCHLINE_MASTER_KEYS` takes it: put it before the one that there is."""
    made = MasterKeyring.generate(key_id).written()
    try:
        MasterKeyring.parse(made)
    except UnfitKeys as fault:
        raise refuse(f"{fault}.") from None
    typer.echo(made, nl=False)


@app.command(name="rewrap")
def rewrap_keys(
    services: Services = None,
    chunk: Annotated[int, typer.Option(min=1, help="How many keys one transaction wraps.")] = CHUNK,
) -> None:
    """Wraps every data key with the first of the master keys. Stopped anywhere, it goes on from there."""
    try:
        settings = PlatformSettings()
        own = Home(settings.home).master_keys if is_demo() else None
        file = settings.master_keys_file or (own if settings.master_keys is None else None)
        keyring = MasterKeyring.read(settings.master_keys, file)
    except UnfitKeys as fault:
        raise refuse(f"{fault}.") from None
    master_keys = LocalMasterKeys(keyring)
    left: set[str] = set()
    recorded_with = audit_keys()
    for service in known_services(services):
        try:
            left |= asyncio.run(rewrap_service(service, owners_url(service), master_keys, recorded_with, chunk))
        except (MasterKeyUnknown, NotOpened) as fault:
            raise refuse(f"{service}: {fault}; what was wrapped before that stays so.") from None
        except OperationalError as fault:
            raise refuse(f"the database of {service} does not answer ({type(fault.orig).__name__}).") from None
        except AuditAway:
            raise refuse(f"{service}: the audit cannot be written, and nothing was wrapped.") from None
    old = ", ".join(key_id for key_id in keyring.keys if key_id not in {keyring.current, *left})
    if left:
        raise refuse(f"{', '.join(sorted(left))} still wraps keys: a replica does not know {keyring.current} yet.")
    if services and set(services) != set(SERVICES):
        typer.echo("The other services have keys of their own: no master key may be taken away yet.")
    elif old:
        typer.echo(f"Nothing is wrapped with {old} any more: it may be taken away here. Backups before this need it.")


async def rewrap_service(
    service: str, url: str, master_keys: MasterKeys, recorded_with: AuditKeys, chunk: int
) -> set[str]:
    """Ids of the other master keys that still wrap something: what others held locked, or made meanwhile.

    The audit has a row of it first, with the number of customers. Raises AuditAway.
    """
    database = Database(url, url, pool_size=1)
    done = 0
    try:
        await _record(service, database, master_keys, recorded_with)
        while True:
            async with AsyncSession(database.jobs) as session:
                count = await rewrap(session, master_keys, chunk)
                await session.commit()
            if not count:
                break
            done += count
            typer.echo(f"{service}: {done} keys wrapped with {master_keys.current_id} …", err=True)
        async with AsyncSession(database.jobs) as session:
            wrapped = await count_wrapped(session)
    finally:
        await database.close()
    kept = ", ".join(f"{count} with {key_id}" for key_id, count in sorted(wrapped.items())) or "there are none"
    typer.echo(f"{service}: {done} keys wrapped again; now {kept}.")
    return set(wrapped) - {master_keys.current_id}


async def _record(service: str, database: Database, master_keys: MasterKeys, recorded_with: AuditKeys) -> None:
    async with AsyncSession(database.jobs) as session:
        number = await count_others(session, master_keys)
    if not number:
        return
    access = Access(
        action=Action.CHANGE,
        outcome=Outcome.CHANGED,
        operation="keys.rewrap",
        resource=f"data_key/{master_keys.current_id}",
        purpose="operation",
        actor=service,
        role="service",
        customer_count=number,
    )
    writer = AuditWriter(service, database.jobs_url, recorded_with)
    try:
        await writer.record(access)
    finally:
        await writer.close()
