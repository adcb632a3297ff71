"""Row-level security is answered by indexes: no list and no read walks through the other branches' customers."""

from collections.abc import Iterator
from hashlib import md5
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text

from services.catalog import compose
from shared.auth.principal import Principal
from shared.settings import PlatformSettings
from shared.web.transaction import open_session
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, branch_head, head_office, manager, under_test

CUSTOMERS, MANAGERS, BRANCHES = 20_000, 400, 100
MOST_ROWS = CUSTOMERS // 4
"""That a plan may read and drop: in the order of a list it walks until a page is full."""

SCOPE = f"""
    insert into customer_scope
    select md5('c' || i)::uuid, to_char(i, 'FM00000000'), 'B' || (i % {BRANCHES}),
      array['HQ', 'R' || (i % 10), 'B' || (i % {BRANCHES})], 'M' || (i % {MANAGERS}),
      case when i % 50 = 0 then 'M' || (i / 50 % {MANAGERS}) end, 1, null
    from generate_series(1, {CUSTOMERS}) i
"""
FILL = {
    "customer": (
        "insert into branch (branch_id, revision, fingerprint, name, branch_path)"
        f" select 'B' || i, 1, 1, 'b', array['HQ', 'B' || i] from generate_series(0, {BRANCHES - 1}) i",
        "insert into customer (customer_id, source, party_id, revision, fingerprint, version, customer_number,"
        " branch_id, manager_id) select customer_id, 'core', customer_number, 1, 1, 1, customer_number, branch_id,"
        " manager_id from customer_scope",
        "insert into account (account_id, source, core_account_id, revision, fingerprint, version, customer_id, kind,"
        " currency, opened_on) select customer_id, 'core', customer_number, 1, 1, 1, customer_id, 'current', 'CNY',"
        " '2020-01-01' from customer_scope",
        "insert into account_party select customer_id, customer_id, 'holder' from customer_scope",
        "insert into reconciliation_finding (account_id, as_of, stated_minor, posted_minor)"
        " select customer_id, '2026-01-01', 1, 2 from customer_scope where customer_number like '%07'",
    ),
    "interaction": ("insert into coverage select customer_id from customer_scope",),
    "scoring": ("insert into customer_score (customer_id, partition) select customer_id, 0 from customer_scope",),
}
"""By service: what its lists are of, one for each customer; findings are rare."""

BIG = 200
"""Rows; a smaller table may be read through."""
PATHS = {
    "customer": (
        "/customers",
        "/customers?sort=-customer_number",
        "/reconciliation-findings",
        "/customers/{id}",
        "/accounts/{id}",
    ),
    "interaction": ("/customers/not-contacted?days=0", "/customers/{id}/timeline"),
    "scoring": ("/customers", "/customers?band=low", "/customers/{id}/score"),
}
PEOPLE = (manager("M7"), branch_head("B7"), branch_head("R7"), head_office())
THEIRS = UUID(md5(b"c7", usedforsecurity=False).hexdigest())


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


async def _explained(
    service: ServiceUnderTest, actor: Principal, statement: str, parameters: Any
) -> list[dict[str, Any]]:
    async with open_session(service.database.requests, actor, 30) as session:
        connection = await session.connection()
        found = await connection.exec_driver_sql(f"explain (analyze, format json) {statement}", parameters)
        return list(_nodes(found.scalar_one()[0]["Plan"]))


async def _asked(service: ServiceUnderTest, actor: Principal, path: str) -> list[tuple[str, Any]]:
    """The queries of a request, with their parameters."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().lower().startswith("select") and "set_config" not in statement:
            asked.append((statement, parameters))

    engine = service.database.requests.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        async with service.http(actor) as http:
            answer = await http.get(path)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert answer.status_code == 200, answer.text
    return asked


@pytest.mark.parametrize("name", sorted(FILL))
async def test_lists_and_reads_use_indexes_whoever_asks(name: str, new_database: NewDatabase) -> None:
    async with under_test(compose(name, PlatformSettings(partitions=4)), await new_database(name)) as service:
        async with service.database.jobs.begin() as connection:
            for statement in (SCOPE, *FILL[name]):
                await connection.execute(text(statement))
        async with service.database.jobs.connect() as connection:
            await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("vacuum analyze"))
        for path in PATHS[name]:
            for actor in PEOPLE:
                asked = await _asked(service, actor, path.format(id=THEIRS))
                assert asked
                for statement, parameters in asked:
                    plan = await _explained(service, actor, statement, parameters)
                    told = (path, actor, statement, [each.get("Relation Name") for each in plan])
                    read_through = [
                        node["Relation Name"]
                        for node in plan
                        if node["Node Type"] == "Seq Scan"
                        and node["Actual Rows"] + node.get("Rows Removed by Filter", 0) > BIG
                    ]
                    assert read_through == [], told
                    dropped = sum(node.get("Rows Removed by Filter", 0) * node["Actual Loops"] for node in plan)
                    assert dropped <= MOST_ROWS, told
