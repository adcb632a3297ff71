"""What an event is known by tells nobody what it was: not after an erasure, and not to who has no key."""

from collections.abc import AsyncIterator

import pytest

from services.customer.app import customer_service
from services.customer.use_cases.fingerprints import keyed_fingerprints
from services.customer.use_cases.receiving import Received, read_cloud_event
from shared.sealing.data_keys import DataKeys
from shared.sealing.master_keys import LocalMasterKeys
from tests.bank import account, branch, lines, party, posted, push
from tests.conftest import NewDatabase
from tests.customer.asking import NOW
from tests.harness import PARTITIONS, ServiceUnderTest, under_test
from tests.keys import MASTER_KEYS

BANK = [
    branch("B1"),
    party("P1", branch_id="B1", name="Lin Meiqi"),
    account("A1", "P1"),
    posted("T1", 1, account_id="A1"),
]


@pytest.fixture
async def customer(new_database: NewDatabase) -> AsyncIterator[ServiceUnderTest]:
    async with under_test(customer_service(partitions=PARTITIONS), await new_database("customer")) as service:
        yield service


def digests() -> set[int]:
    """What somebody who holds the events can compute of them."""
    read = [read_cloud_event(line, received_at=NOW) for line in lines(BANK, ids="bank").splitlines()]
    return {event.digest for event in read if isinstance(event, Received)}


async def kept(customer: ServiceUnderTest) -> set[int]:
    tables = ("received_event", "customer", "account", "posting", "branch")
    rows = await customer.rows(" union all ".join(f"select fingerprint from {table}" for table in tables))
    return {fingerprint for (fingerprint,) in rows}


async def test_who_holds_an_event_and_the_database_cannot_confirm_that_it_came(customer: ServiceUnderTest) -> None:
    await push(customer, BANK, ids="bank")
    assert len(digests()) == len(await kept(customer)) == len(BANK)
    assert not digests() & await kept(customer)
    again = await push(customer, BANK, ids="bank")
    assert again["duplicate"] == len(BANK), "the service knows them"


async def test_another_process_knows_them_and_another_database_keeps_others(
    customer: ServiceUnderTest, new_database: NewDatabase
) -> None:
    await push(customer, BANK, ids="bank")
    customer.database.data_keys = DataKeys(LocalMasterKeys(MASTER_KEYS))
    assert (await push(customer, BANK, ids="bank"))["duplicate"] == len(BANK)
    async with under_test(customer_service(partitions=PARTITIONS), await new_database("customer")) as other:
        await push(other, BANK, ids="bank")
        assert not await kept(other) & await kept(customer)


async def test_a_key_whose_first_receipt_was_rolled_back_is_not_used(customer: ServiceUnderTest) -> None:
    async with customer.database.transaction() as session:
        await keyed_fingerprints(session)
        await session.rollback()
    await push(customer, BANK, ids="bank")
    customer.database.data_keys = DataKeys(LocalMasterKeys(MASTER_KEYS))
    assert (await push(customer, BANK, ids="bank"))["duplicate"] == len(BANK)


async def test_what_a_database_without_the_key_knows_it_still_knows(customer: ServiceUnderTest) -> None:
    """One that has receipts of the version before."""
    async with customer.database.jobs.begin() as connection:
        await connection.exec_driver_sql(
            "insert into received_event (source, event_id, type, fingerprint, outcome)"
            " values ('x', 'y', 'z', 1, 'applied')"
        )
    await push(customer, BANK, ids="bank")
    assert digests() <= await kept(customer)
    assert (await push(customer, BANK, ids="bank"))["duplicate"] == len(BANK)
