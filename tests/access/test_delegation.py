"""What the customer service delegates holds in every service that hears of it, and ends there by itself."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from services.catalog import compose
from shared.auth.principal import Principal
from shared.events import Event
from shared.events.customer import CustomerChanged, PortfolioDelegated
from shared.ids import new_id
from shared.settings import PlatformSettings
from shared.web.transaction import open_session
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, branch_head, manager, operator, program, under_test

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
FRIDAY = MONDAY + timedelta(days=4)


def customer(number: str, manager_id: str | None = "M1", **more: object) -> CustomerChanged:
    stated = {"customer_id": new_id(), "revision": 1, "branch_id": "B1", "branch_path": ("HQ", "B1"), **more}
    return CustomerChanged(customer_number=number, manager_id=manager_id, **stated)  # type: ignore[arg-type] # tests' own


def delegated(delegate_id: str = "M2", *, revision: int = 1, ends_at: datetime = FRIDAY, **more: object) -> Event:
    stated = {"delegation_id": UUID(int=1), "manager_id": "M1", "delegated_by": "M1", "starts_at": MONDAY, **more}
    return PortfolioDelegated(delegate_id=delegate_id, revision=revision, ends_at=ends_at, **stated)  # type: ignore[arg-type] # tests' own


async def seen(service: ServiceUnderTest, actor: Principal, at: datetime) -> list[str]:
    async with open_session(service.database.requests, actor, 5, lambda: at) as session:
        return list(await session.scalars(text("select customer_number from customer_scope order by 1")))


@pytest.mark.parametrize("name", ["interaction", "scoring", "notification"])
async def test_a_delegate_sees_the_customers_while_it_lasts(name: str, new_database: NewDatabase) -> None:
    async with under_test(compose(name, PlatformSettings()), await new_database(name)) as service:
        one, two, others = customer("1"), customer("2"), customer("3", "M9")
        await service.deliver([one, two, others, delegated()])
        a_moment = timedelta(microseconds=1)
        for at, numbers in (
            (MONDAY - a_moment, []),
            (MONDAY, ["1", "2"]),
            (FRIDAY - a_moment, ["1", "2"]),
            (FRIDAY, []),
        ):
            assert await seen(service, manager("M2"), at) == numbers
            assert await seen(service, manager("M1"), at) == ["1", "2"]
            for stranger in (manager("M3"), branch_head("B7", "M2x"), operator(), program()):
                assert await seen(service, stranger, at) == []
        await service.deliver([delegated(revision=3, customer_ids=(two.customer_id, others.customer_id))])
        assert await seen(service, manager("M2"), MONDAY) == ["2"], "M1 delegates nobody else's customers"
        await service.deliver([delegated(revision=2)])
        assert await seen(service, manager("M2"), MONDAY) == ["2"], "an older revision is ignored"
        await service.deliver([delegated(revision=4, ends_at=MONDAY)])
        assert await seen(service, manager("M2"), MONDAY) == [], "ended before its time"


@pytest.mark.parametrize("name", ["interaction", "scoring", "notification"])
async def test_who_does_not_say_the_time_sees_nothing_that_is_delegated(name: str, new_database: NewDatabase) -> None:
    async with under_test(compose(name, PlatformSettings()), await new_database(name)) as service:
        await service.deliver([customer("1"), delegated()])
        async with service.database.requests.connect() as connection:
            for setting, value in (("role", "manager"), ("staff_id", "M2")):
                await connection.execute(
                    text("select set_config('branchline.' || :setting, :value, false)"),
                    {"setting": setting, "value": value},
                )
            assert (await connection.execute(text("select 1 from customer_scope"))).all() == []
