from collections.abc import AsyncIterator

import pytest

from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest
from tests.notification.bank import Watch, notifying


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
async def notification(new_database: NewDatabase, watch: Watch) -> AsyncIterator[ServiceUnderTest]:
    async with notifying(await new_database("notification"), watch) as service:
        yield service
