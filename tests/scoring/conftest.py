from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

import hypothesis
import pytest

from services.scoring.app import scoring_service
from services.scoring.settings import ScoringSettings
from shared.ids import new_id
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, under_test
from tests.scoring.bank import TODAY, customer_changed

hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

ScoringOn = Callable[..., AbstractAsyncContextManager[ServiceUnderTest]]


@pytest.fixture
def scoring_on(new_database: NewDatabase) -> ScoringOn:
    """Runs scoring, with an empty database and some settings, as if it were evening on a day."""

    @asynccontextmanager
    async def run(today: date, **settings: Any) -> AsyncIterator[ServiceUnderTest]:
        now = datetime.combine(today, time(20), UTC)
        service = scoring_service(ScoringSettings(load_pause_seconds=1e-6, **settings), clock=lambda: now)
        async with under_test(service, await new_database("scoring")) as scoring:
            yield scoring

    return run


@pytest.fixture
async def scoring(scoring_on: ScoringOn) -> AsyncIterator[ServiceUnderTest]:
    """Scoring on the evening of TODAY."""
    async with scoring_on(TODAY) as service:
        yield service


@pytest.fixture
async def customer(scoring: ServiceUnderTest) -> UUID:
    """One whom scoring knows, and M1 looks after."""
    customer_id = new_id()
    await scoring.deliver([customer_changed(customer_id)])
    return customer_id
