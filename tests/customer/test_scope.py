"""Nobody sees another's customers, even with SQL of their own; tests/access walks every table and operation."""

from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from shared.scope import customer_scope
from shared.web.transaction import open_session
from tests.bank import lines, posted, push
from tests.customer.asking import AUDITOR, HEAD_2, M1, OFFICE, OPERATOR, get, two_branches
from tests.harness import ServiceUnderTest, branch_head, manager


async def test_requests_read_and_change_nothing_beyond_their_scope_even_in_sql(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    engine = customer.database.requests
    for actor, seen in ((M1, 1), (HEAD_2, 1), (OFFICE, 2), (AUDITOR, 0), (OPERATOR, 0), (manager("", ""), 0)):
        async with open_session(engine, actor, 5) as session:
            for table in ("customer", "account", "account_party", "customer_scope"):
                assert await session.scalar(text(f"select count(*) from {table}")) == seen, (actor, table)
            changed = await session.execute(text("update customer set manager_id = 'M9' returning 1"))
            assert len(changed.all()) == seen
    async with engine.connect() as connection:
        assert await connection.scalar(text("select count(*) from customer")) == 0, "who says nothing sees nothing"


async def test_a_scope_row_of_somebody_else_cannot_be_taken(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    taking = customer_scope.insert().values(
        customer_id=UUID(int=7), customer_number="x", branch_id="B2", branch_path=["B2"], manager_id="M2", revision=9
    )
    async with open_session(customer.database.requests, M1, 5) as session:
        with pytest.raises(ProgrammingError, match="row-level security"):
            await session.execute(taking)


async def test_a_stranger_is_not_told_how_many_there_are(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    await push(customer, lines([posted("T1", 1)], ids="t"))
    for actor in (manager("M9"), branch_head("B9"), branch_head("", "H9")):
        for path in ("/customers", "/reconciliation-findings", "/delegations"):
            assert (await get(customer, path, actor)).json() == {"items": [], "next": None}
