"""Whether each service's migrations make what its models say, from nothing, and can be taken back."""

import asyncio
import tempfile
from pathlib import Path

from alembic.util import CommandError

from services.catalog import SERVICES
from shared.embedded_postgres import start_postgres
from shared.migrations import check, migrate


async def check_all_migrations() -> list[tuple[str, str | None]]:
    """For each service what is wrong, or None."""
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
