from collections.abc import AsyncIterator

import pytest

from services.interaction.app import interaction_service
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, under_test
from tests.interaction.branch import NOW


@pytest.fixture
async def interaction(new_database: NewDatabase) -> AsyncIterator[ServiceUnderTest]:
    async with under_test(interaction_service(), await new_database("interaction")) as service:
        service.app.state.clock = lambda: NOW
        yield service
