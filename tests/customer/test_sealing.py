"""Personal details are in the database as nobody can read them, and came there from how the first version kept them."""

from datetime import date
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from shared.embedded_postgres import EmbeddedPostgres
from shared.ids import new_id
from shared.migrations import migrate
from tests.bank import SMALL_BANK, party, push
from tests.customer.asking import listed, searched
from tests.harness import ServiceUnderTest, rows_as_owner
from tests.keys import MASTER_KEYS

SECRETS: dict[str, Any] = {
    "name": "林美琪 Lin Meiqi",
    "phone": "+00 555 0142",
    "email": "meiqi@example.invalid",
    "address": "Quiet Lane 7",
}


async def test_nothing_that_the_database_holds_can_be_read_as_a_persons(customer: ServiceUnderTest) -> None:
    await push(
        customer, [*SMALL_BANK[:2], party("P1", **SECRETS, document_number="E1234567", birth_on=date(1980, 2, 29))]
    )
    ((kept,),) = await rows_as_owner(
        customer.database,
        "select string_agg(t::text, '') from (select c::text as t from customer c union all"
        " select encode(sealed, 'escape') from customer union all select k::text from customer_token k union all"
        " select r::text from received_event r union all select o::text from outbox o) all_rows (t)",
    )
    for secret in (*SECRETS.values(), "E1234567", "1980-02-29", "5550142", "meiqi"):
        assert secret not in kept, secret
    (shown,) = await listed(customer)
    assert {name: shown[name] for name in SECRETS} == SECRETS
    assert (shown["document_number"], shown["birth_on"]) == ("E1234567", "1980-02-29")


async def test_who_is_renamed_is_no_longer_found_by_the_old_name(customer: ServiceUnderTest) -> None:
    await push(customer, [*SMALL_BANK[:2], party("P1", name="Lin Meiqi")])
    await push(customer, [party("P1", revision=2, name="Wang Meiqi")], ids="renamed")
    assert await searched(customer, "lin") == []
    assert await searched(customer, "meiqi") == ["Wang Meiqi"]


@pytest.fixture
async def first_version(postgres: EmbeddedPostgres) -> str:
    """A database as it was before anything was sealed, with one customer."""
    name = f"sealed_{new_id().hex}"
    postgres.provision(name, "customer", "customer_api")
    url = postgres.url("customer", name)
    await migrate("customer", url, "0009")
    engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    async with engine.begin() as connection:
        await connection.execute(text("insert into branch values ('B1', 1, 1, 'One', null, null, '{B1}')"))
        await connection.execute(
            text(
                "insert into customer (customer_id, source, party_id, revision, fingerprint, version, customer_number,"
                " branch_id, name, name_key, phone, phone_key, email, address, birth_on)"
                " select gen_random_uuid(), 'core', 'P' || n, 1, 1, 1, n::text, 'B1', :name || n, lower(:name || n),"
                " :phone, '005550142', :email, :address, '1980-02-29' from generate_series(1, 1200) n"
            ),
            SECRETS,
        )
    await engine.dispose()
    return url


PLAIN = "select name, name_key, phone, phone_key, email, address, birth_on from customer order by customer_id"


async def test_the_first_versions_plain_columns_are_sealed_and_can_be_opened_again(first_version: str) -> None:
    before = await rows_of(first_version, PLAIN)
    with pytest.raises(Exception, match="BRANCHLINE_MASTER_KEYS"):
        await migrate("customer", first_version)
    assert await rows_of(first_version, PLAIN) == before, "without a key nothing is sealed, and nothing is lost"
    await migrate("customer", first_version, "0011", master_keys=MASTER_KEYS)
    sealed = await rows_of(first_version, "select sealed, customer_id from customer")
    assert len(sealed) == 1200
    assert all(b"Meiqi" not in row[0] for row in sealed)
    assert await rows_of(first_version, "select count(distinct customer_id) from customer_token") == [(1200,)]
    await migrate("customer", first_version, "-1", master_keys=MASTER_KEYS)
    assert await rows_of(first_version, PLAIN) == before


async def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    async with engine.connect() as connection:
        rows = [tuple(row) for row in await connection.execute(text(query))]
    await engine.dispose()
    return rows
