import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres
from shared.messaging import tables as messaging
from shared.web import idempotency
from tests.shared.web import notes as example
from tests.shared.web.notes import Notes, notes_service


@pytest.fixture(scope="session")
async def notes_database(postgres: EmbeddedPostgres) -> AsyncIterator[Database]:
    await asyncio.to_thread(postgres.provision, "notes", "notes", "notes_api")
    database = Database(postgres.url("notes", "notes"), postgres.url("notes_api", "notes"))
    async with database.jobs.begin() as connection:
        for metadata in (messaging.metadata, idempotency.metadata, example.metadata):
            await connection.run_sync(metadata.create_all)
        for statement in example.POLICIES:
            await connection.execute(text(statement))
    yield database
    await database.close()


@pytest.fixture
async def notes(notes_database: Database) -> AsyncIterator[Notes]:
    async with notes_service(notes_database) as service:
        yield service
    async with notes_database.jobs.begin() as connection:
        await connection.execute(text("truncate note, outbox, idempotency_key"))
