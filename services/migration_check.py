"""Whether each service's migrations make what its models say, from nothing, and can be taken back."""

import asyncio
import re
import tempfile
from collections import defaultdict
from pathlib import Path

from alembic.util import CommandError

from services.catalog import SERVICES
from shared.embedded_postgres import start_postgres
from shared.migrations import ROOT, check, migrate

VERSION = re.compile(r"(\d{4})_\w+\.py")
REVISION = re.compile(r'^(revision|down_revision)(?:: [^=]+)? = (?:"(\d{4})"|None)$', re.MULTILINE)


def fault_of_numbers(versions: Path) -> str | None:
    """What is wrong with the order of the migrations in a folder, or None: they are one after the other, 0001, 0002 …

    Alembic takes the last of two that share a number, without a word; two that follow the same one are two heads.
    """
    by_number = defaultdict(list)
    for path in sorted(versions.glob("[!_]*.py")):
        named = VERSION.fullmatch(path.name)
        stated = dict(REVISION.findall(path.read_text()))
        if named is None or stated.keys() != {"revision", "down_revision"}:
            return f"{path.name} is not NNNN_what.py with a revision and a down_revision of four digits"
        if stated["revision"] != named[1]:
            return f"{path.name} says that it is {stated['revision'] or None}"
        by_number[named[1]].append((path.name, stated["down_revision"]))
    before = ""
    for number, found in sorted(by_number.items()):
        if len(found) > 1:
            both = " and ".join(name for name, _ in found)
            return f"{both} share a number: the one that landed last takes the next free one"
        ((name, follows),) = found
        if follows != before:
            return f"{name} follows {follows or None} and not {before or None}, the one before it"
        before = number
    return None


async def check_all_migrations() -> list[tuple[str, str | None]]:
    """For each service what is wrong, or None."""
    numbers = [
        (service, fault_of_numbers(ROOT / "services" / service / "migrations" / "versions")) for service in SERVICES
    ]
    if any(fault for _, fault in numbers):
        return numbers
    with tempfile.TemporaryDirectory(prefix="branchline-migrations-") as folder:
        postgres = await asyncio.to_thread(start_postgres, Path(folder) / "postgres")
        try:
            faults = []
            for service in SERVICES:
                postgres.provision(service, service, f"{service}_api")
                faults.append((service, await _fault(service, postgres.url(service, service))))
            return faults
        finally:
            await asyncio.to_thread(postgres.stop)


async def _fault(service: str, url: str) -> str | None:
    try:
        await migrate(service, url)
        await check(service, url)
        await migrate(service, url, "base")
        await migrate(service, url)
    except CommandError as fault:
        return str(fault)
    return None
