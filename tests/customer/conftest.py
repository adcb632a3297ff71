from collections.abc import AsyncIterator

import pytest

from services.customer.app import customer_service
from tests.conftest import NewDatabase
from tests.customer.asking import NOW
from tests.harness import PARTITIONS, ServiceUnderTest, under_test


@pytest.fixture
async def customer(new_database: NewDatabase) -> AsyncIterator[ServiceUnderTest]:
    async with under_test(customer_service(partitions=PARTITIONS), await new_database("customer")) as service:
        service.app.state.clock = lambda: NOW
        yield service
