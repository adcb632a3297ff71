import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from shared import scope
from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres
from shared.messaging import tables as messaging
from shared.sealing import data_keys
from shared.sealing.master_keys import LocalMasterKeys
from shared.web import idempotency
from tests.keys import MASTER_KEYS
from tests.shared.web import notes as example
from tests.shared.web.notes import Notes, notes_service


@pytest.fixture(scope="session")
async def notes_database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    await asyncio.to_thread(postgres.provision, "notes", "notes", "notes_api")
    database = Database(postgres.url("notes", "notes"), postgres.url("notes_api", "notes"))
    async with database.jobs.begin() as connection:
        for module in (messaging, idempotency, data_keys, scope, example):
            await connection.run_sync(module.metadata.create_all)
        for table in ("data_key", "service_key", "customer_scope"):
            await connection.execute(text(f"grant select, insert on {table} to notes_api"))
        for statement in example.POLICIES:
            await connection.execute(text(statement))
    database.data_keys = data_keys.DataKeys(LocalMasterKeys(MASTER_KEYS))
    yield database
    await database.close()


@pytest.fixture
async def notes(notes_database: Database) -> AsyncIterator[Notes]:
    async with notes_service(notes_database) as service:
        yield service
    async with notes_database.jobs.begin() as connection:
        await connection.execute(text("truncate note, outbox, idempotency_key"))
