"""Webhooks are on, and may reach a receiver on this machine."""

from collections.abc import AsyncIterator

import pytest

from shared.database import Database
from tests.harness import ServiceUnderTest
from tests.notification.bank import (
    Watch,
)
from tests.notification.receiver import Receiver, receiving
from tests.notification.webhooks.hooks import hooking


@pytest.fixture
async def notification(database: Database, watch: Watch) -> AsyncIterator[ServiceUnderTest]:
    async with hooking(database, watch) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving(Receiver()) as listening:
        yield listening
