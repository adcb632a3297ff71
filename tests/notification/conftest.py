from collections.abc import AsyncIterator

import pytest

from shared.database import Database
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest
from tests.notification.bank import Watch, notifying


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def database(new_database: NewDatabase) -> Database:
    return await new_database("notification")


@pytest.fixture
async def notification(database: Database, watch: Watch) -> AsyncIterator[ServiceUnderTest]:
    async with notifying(database, watch) as service:
        yield service
