"""Real parts for every test: PostgreSQL built by the migrations; a database of its own for each test."""

import asyncio
import ctypes
import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from fastapi.dependencies import models
from psycopg import sql

from shared.database import Database
from shared.embedded_postgres import EmbeddedPostgres, start_postgres
from shared.ids import new_id
from shared.migrations import migrate
from shared.sealing.data_keys import DataKeys
from shared.sealing.master_keys import LocalMasterKeys
from tests.keys import MASTER_KEYS

pytest_plugins = ("tests.processes", "tests.surroundings", "tests.kafka_fixtures", "tests.data_fixtures")

SERVICES = ("customer", "interaction", "scoring", "notification")

REMEMBERED = 500
"""Functions, of all applications together; one has some 30 that no other has."""

M_MMAP_THRESHOLD, MMAPPED_BYTES = -3, 2**20

NewDatabase = Callable[[str], Awaitable[Database]]


def pytest_configure() -> None:
    """Has glibc ask the system for every great array, and give it back.

    By itself it begins to keep them, and to clear what it gives out. Each customer service has 32 MB of `Seen`, of
    which a test touches next to nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MMAPPED_BYTES)


@pytest.fixture(autouse=True)
def process() -> Iterator[None]:
    """A test that leaves this process other than it was fails, and not those after it."""
    environment, thresholds = dict(os.environ), gc.get_threshold()
    yield
    left = dict(os.environ)
    changed = {name for name, _ in environment.items() ^ left.items()} - {"PYTEST_CURRENT_TEST"}
    if changed:
        os.environ.clear()
        os.environ.update(environment)
        pytest.fail(f"left in the environment: {', '.join(sorted(changed))}", pytrace=False)
    if gc.get_threshold() != thresholds:
        gc.set_threshold(*thresholds)
        pytest.fail("left garbage to be collected at other times: expect_batches is for a process", pytrace=False)


@pytest.fixture(autouse=True)
def applications() -> Iterator[None]:
    """Lets go of the applications of tests that are over: FastAPI remembers 4,096 of their functions, 2 MB an app."""
    yield
    if models._is_gen_callable_cached.cache_info().currsize > REMEMBERED:
        for remembered in (
            models._is_gen_callable_cached,
            models._is_async_gen_callable_cached,
            models._is_coroutine_callable_cached,
        ):
            remembered.cache_clear()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="branchline-test-"))
    folder.chmod(0o755)
    server = start_postgres(folder / "postgres")
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute("alter system set fsync = off")  # a test's data need not outlive the machine
        connection.execute("select pg_reload_conf()")
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated(postgres: EmbeddedPostgres) -> Callable[[str], str]:
    """The name of a service's migrated template database, made when it is first asked for."""
    made: set[str] = set()

    def template(service: str) -> str:
        name = f"{service}_template"
        if service not in made:
            postgres.provision(name, service, f"{service}_api")
            with asyncio.Runner() as runner:
                runner.run(migrate(service, postgres.url(service, name)))
            made.add(service)
        return name

    return template


@pytest.fixture
async def new_database(postgres: EmbeddedPostgres, migrated: Callable[[str], str]) -> AsyncIterator[NewDatabase]:
    """Makes a fresh, migrated database of a service."""
    async with fresh_databases(postgres, migrated) as make:
        yield make


@asynccontextmanager
async def fresh_databases(postgres: EmbeddedPostgres, migrated: Callable[[str], str]) -> AsyncIterator[NewDatabase]:
    databases: list[tuple[str, Database]] = []

    async def make(service: str) -> Database:
        template = await asyncio.to_thread(migrated, service)
        name = f"{service}_{new_id().hex}"
        await asyncio.to_thread(_execute, postgres, "create database {} template {} owner {}", name, template, service)
        database = Database(postgres.url(service, name), postgres.url(f"{service}_api", name), pool_size=3)
        database.data_keys = DataKeys(LocalMasterKeys(MASTER_KEYS))
        databases.append((name, database))
        return database

    yield make
    for name, database in databases:
        await database.close()
        await asyncio.to_thread(_execute, postgres, "drop database {} with (force)", name)


def _execute(postgres: EmbeddedPostgres, statement: str, *names: str) -> None:
    with psycopg.connect(postgres.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
