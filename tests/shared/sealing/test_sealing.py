"""What is sealed opens with its customer's key and nothing else, and is gone with it."""

import secrets
from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from shared.embedded_postgres import EmbeddedPostgres
from shared.ids import new_id
from shared.keyring import MasterKeyring, UnfitKeys
from shared.sealing.data_keys import DataKey, DataKeys, metadata
from shared.sealing.master_keys import LocalMasterKeys, MasterKeyUnknown, NotOpened
from shared.sealing.rotation import MasterKeyCheck, MasterKeyMissing, count_wrapped, rewrap

OLD, NEW = MasterKeyring.generate("2025").written().strip(), MasterKeyring.generate("2026").written().strip()


@pytest.fixture
async def session(postgres: EmbeddedPostgres) -> AsyncIterator[AsyncSession]:
    name = f"sealing_{new_id().hex}"
    postgres.provision(name, "customer")
    engine = create_async_engine(postgres.url("customer", name).replace("postgresql://", "postgresql+psycopg://"))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    async with AsyncSession(engine) as opened:
        yield opened
    await engine.dispose()


def master_keys(*texts: str) -> LocalMasterKeys:
    return LocalMasterKeys(MasterKeyring.read(SecretStr(",".join(texts)), None))


def keys(*texts: str) -> DataKeys:
    return DataKeys(master_keys(*texts))


async def test_what_is_sealed_opens_only_with_its_customers_key_in_its_field(session: AsyncSession) -> None:
    customer, other = new_id(), new_id()
    made = await keys(NEW).make(session, [customer, other])
    sealed = made[customer].seal("林美琪".encode(), "customer.name")
    assert "林美琪".encode() not in sealed
    assert made[customer].open(sealed, "customer.name").decode() == "林美琪"
    with pytest.raises(NotOpened):
        made[customer].open(sealed, "customer.phone")
    with pytest.raises(NotOpened):
        made[other].open(sealed, "customer.name")
    for changed in (sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed[:10], b"", b"\x02" + sealed[1:]):
        with pytest.raises(NotOpened):
            made[customer].open(changed, "customer.name")


async def test_the_same_value_is_never_sealed_to_the_same_bytes(session: AsyncSession) -> None:
    key = DataKey(new_id(), secrets.token_bytes(32))
    assert key.seal(b"x", "f") != key.seal(b"x", "f")


async def test_a_customer_has_one_key_whoever_makes_it(session: AsyncSession) -> None:
    customer = new_id()
    sealed = (await keys(NEW).make(session, [customer]))[customer].seal(b"x", "f")
    again = await keys(NEW).make(session, [customer, customer])
    assert again[customer].open(sealed, "f") == b"x"


async def test_a_rotated_master_key_opens_what_was_sealed_before_without_touching_it(session: AsyncSession) -> None:
    customers = [new_id() for _ in range(5)]
    before = keys(OLD)
    made = await before.make(session, customers)
    sealed = {customer: made[customer].seal(customer.bytes, "f") for customer in customers}
    await before.make_index(session)
    rotating = master_keys(NEW, OLD)
    assert await count_wrapped(session) == {"2025": 6}
    assert [await rewrap(session, rotating, most=3) for _ in range(4)] == [3, 2, 1, 0]
    assert await count_wrapped(session) == {"2026": 6}
    after = await keys(NEW).find(session, customers)
    assert {c: after[c].open(sealed[c], "f") for c in customers} == {c: c.bytes for c in customers}
    with pytest.raises(MasterKeyUnknown, match="2026"):
        await keys(OLD).find(session, customers)


async def test_who_lacks_a_master_key_that_keys_are_wrapped_with_is_told_its_id(session: AsyncSession) -> None:
    await MasterKeyCheck(master_keys(NEW)).check(session)
    await keys(OLD).make(session, [new_id()])
    await MasterKeyCheck(master_keys(NEW, OLD)).check(session)
    with pytest.raises(MasterKeyMissing, match="master key 2025, which is not"):
        await MasterKeyCheck(master_keys(NEW)).check(session)
    another = MasterKeyring.generate("2025").written().strip()
    with pytest.raises(MasterKeyMissing, match="2025 is not the one"):
        await MasterKeyCheck(master_keys(another)).check(session)


async def test_the_service_has_one_key_for_what_names_nobody(session: AsyncSession) -> None:
    assert await keys(NEW).find_for_nobody(session) is None
    sealed = (await keys(NEW).make_for_nobody(session)).seal(b"x", "f")
    found = await keys(NEW).find_for_nobody(session)
    assert found is not None
    assert found.open(sealed, "f") == b"x"


async def test_a_destroyed_key_is_gone_for_who_had_it_open_too_and_is_never_made_again(session: AsyncSession) -> None:
    customer, unknown = new_id(), new_id()
    holder = keys(NEW)
    await holder.make(session, [customer])
    await keys(NEW).destroy(session, customer)
    await holder.destroy(session, unknown)
    assert await holder.find(session, [customer]) == {}
    assert await holder.make(session, [customer, unknown]) == {}


async def test_a_wrapped_key_does_not_open_for_another_customer(session: AsyncSession) -> None:
    customer, thief = new_id(), new_id()
    await keys(NEW).make(session, [customer, thief])
    await session.execute(
        text(
            "update data_key set wrapped = (select wrapped from data_key where customer_id = :c) where customer_id = :t"
        ),
        {"c": customer, "t": thief},
    )
    with pytest.raises(NotOpened):
        await keys(NEW).find(session, [thief])


@pytest.mark.parametrize(
    "written",
    [
        *("", "2026", "2026:!!", "2026:c2hvcnQ=", "2026:" + "A" * 43 + "="),
        pytest.param(f"{NEW},{NEW}", id="one id twice"),  # a name without the key, which is another in each process
        "bad id:x",
    ],
)
def test_a_weak_or_mistyped_master_key_is_refused_and_not_quoted(written: str) -> None:
    with pytest.raises(UnfitKeys, match="master_keys") as refused:
        MasterKeyring.read(SecretStr(written), None)
    _, _, key = written.partition(":")
    assert not key or key not in str(refused.value)


def test_a_key_does_not_print_itself() -> None:
    raw = secrets.token_bytes(32)
    assert raw.hex() not in repr(DataKey(new_id(), raw))
