from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.customer.app import customer_service
from shared.database import Database
from shared.events.corebanking import CoreBankingEvent
from tests.backfill.history import state
from tests.bank import lines, push
from tests.conftest import NewDatabase
from tests.harness import PARTITIONS, under_test
from tests.keys import share_fingerprints


@pytest.fixture
async def database(new_database: NewDatabase) -> Database:
    return await share_fingerprints(await new_database("customer"))


Live = Callable[[list[CoreBankingEvent]], Awaitable[dict[str, Any]]]


@pytest.fixture
def live(new_database: NewDatabase) -> Live:
    """What the same events become, pushed live in this order."""

    async def push_all(events: list[CoreBankingEvent]) -> dict[str, Any]:
        database = await share_fingerprints(await new_database("customer"))
        async with under_test(customer_service(partitions=PARTITIONS), database) as service:
            for first in range(0, len(events), 500):
                await push(service, lines(events[first : first + 500], ids=f"live-{first}"))
            return await state(service.database)

    return push_all
