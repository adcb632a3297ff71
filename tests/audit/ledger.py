"""A service's audit by itself: its writer, its verification, and somebody who has the database in their hands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg

from shared.audit.records import Access, Action, Outcome
from shared.audit.verification import Verified, verify_service
from shared.audit.writer import AuditWriter
from shared.clock import Clock, system_clock
from shared.database import Database
from shared.keyring import AuditKeys

KEYS = AuditKeys.generate("2026")


def access(operation: str = "read_customer", *customer_ids: UUID, **more: Any) -> Access:
    what: dict[str, Any] = {
        "action": Action.READ,
        "outcome": Outcome.SHOWN,
        "operation": operation,
        "resource": "/api/customer/v1/customers/1",
        "purpose": "customer_care",
        "actor": "M1",
        "role": "manager",
        "status": 200,
        "customer_ids": customer_ids,
        "customer_count": len(customer_ids),
    }
    return Access(**{**what, **more})


@asynccontextmanager
async def writing(
    database: Database, service: str = "customer", keys: AuditKeys = KEYS, clock: Clock = system_clock
) -> AsyncIterator[AuditWriter]:
    writer = AuditWriter(service, database.requests.url, keys, clock)
    yield writer
    await writer.close()


async def verify(database: Database, keys: AuditKeys = KEYS, **more: Any) -> Verified:
    return await verify_service(database.jobs_url, "customer", keys, **more)


async def faults(database: Database, **more: Any) -> list[tuple[str, int | None]]:
    """Their codes and the rows that they name."""
    return [(fault.code, fault.sequence) for fault in (await verify(database, **more)).faults]


async def rows(database: Database, query: str, *values: Any) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(database.jobs_url, autocommit=True) as connection:
        return await (await connection.execute(query, values)).fetchall()


async def tamper(database: Database, *statements: str) -> None:
    """As the tables' owner, who can do away with the triggers, and with nothing else that is in the way."""
    async with await psycopg.AsyncConnection.connect(database.jobs_url) as connection:
        partitions = await (
            await connection.execute(
                "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = relnamespace"
                " where relname like 'audit%%' and relkind in ('r', 'p') and nspname = 'public'"
            )
        ).fetchall()
        for (table,) in partitions:
            await connection.execute(f"alter table {table} disable trigger user")
        for statement in statements:
            await connection.execute(statement)
        for (table,) in partitions:
            await connection.execute(f"alter table {table} enable trigger user")
