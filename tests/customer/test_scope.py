"""Nobody sees another's customers: by policies in the database, on every table, whatever a handler forgets."""

import re
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from shared.scope import customer_scope
from shared.web.transaction import open_session
from tests.bank import lines, posted, push
from tests.customer.asking import AUDITOR, HEAD_1, HEAD_2, M1, M2, OFFICE, OPERATOR, get, listed, two_branches
from tests.harness import ServiceUnderTest, branch_head, manager, program

UNDER_POLICIES = {
    "customer": {"select", "update"},
    "account": {"select"},
    "account_party": {"select"},
    "reconciliation_finding": {"select"},
    "customer_scope": {"select", "insert", "update"},
}
WITHOUT = {
    "branch": ({"select"}, "the bank's, not a customer's"),
    "manager": ({"select"}, "the bank's, not a customer's"),
    "outbox": ({"insert"}, "written by requests, never read"),
    "idempotency_key": ({"select", "insert", "update", "delete"}, "found only by a hash of the caller and their key"),
    "posting": (set(), "the ledger is read as the owner; COPY refuses tables with policies"),
    "received_event": (set(), "of the core's boundary, for programs of the bank"),
    "kept_event": (set(), "of the core's boundary, for programs of the bank"),
    "kept_event_edit": (set(), "of the core's boundary; operators write it as the owner"),
    "backfill": (set(), "of the core's boundary; a history is loaded as the owner"),
    "backfill_fault": (set(), "of the core's boundary; a history is loaded as the owner"),
    "reported_fact": (set(), "only says what was told before"),
    "business_day": (set(), "of the core's boundary, for programs of the bank"),
    "consumer_offset": (set(), "of deliveries"),
    "delivered_event": (set(), "of deliveries"),
    "dead_letter": (set(), "of deliveries; operators read it as the owner"),
    "dead_letter_edit": (set(), "of deliveries; operators write it as the owner"),
    "alembic_version": (set(), "of migrations"),
    "audit_record": ({"insert"}, "written by requests, never read; auditors are answered as the owner"),
    "audit_record_month": (set(), "a partition is reached through its table"),
    "audit_chain": ({"insert"}, "written by requests, never read"),
}
UPDATED_BY_REQUESTS = {"manager_id", "deputy_manager_id", "is_assigned_here", "version", "updated_at"}

_TABLES = """
    select relname, relrowsecurity and relforcerowsecurity,
      (select array_agg(distinct p.polroles[1]::regrole::text) from pg_policy p where p.polrelid = c.oid),
      array (select privilege from unnest(array['select', 'insert', 'update', 'delete', 'truncate']) privilege
             where has_table_privilege('customer_api', c.oid, privilege)
                or privilege <> 'delete' and privilege <> 'truncate'
                   and has_any_column_privilege('customer_api', c.oid, privilege))
    from pg_class c where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')
"""


async def test_every_table_has_policies_or_a_reason_and_no_more_grants_than_listed(customer: ServiceUnderTest) -> None:
    seen = set()
    for name, is_forced, policies, granted in await customer.rows(_TABLES):
        table = re.sub(r"^posting_\d+$", "posting", re.sub(r"^audit_record_.+$", "audit_record_month", name))
        seen.add(table)
        if table in UNDER_POLICIES:
            assert is_forced, table
            assert set(policies) == {"customer", "customer_api"}, table
            assert set(granted) == UNDER_POLICIES[table], table
        else:
            allowed, reason = WITHOUT[table]
            assert reason
            assert set(granted) == allowed, table
    assert seen == UNDER_POLICIES.keys() | WITHOUT.keys()
    updated = await customer.rows(
        "select attname from pg_attribute where attrelid = 'customer'::regclass and attnum > 0"
        " and has_column_privilege('customer_api', attrelid, attnum, 'update')"
    )
    assert {name for (name,) in updated} == UPDATED_BY_REQUESTS


async def test_whoever_serves_requests_owns_nothing_and_passes_no_policy(customer: ServiceUnderTest) -> None:
    ((is_super, bypasses, inherits, owned),) = await customer.rows(
        "select rolsuper, rolbypassrls, pg_has_role('customer_api', 'customer', 'member'),"
        " (select count(*) from pg_class where relowner = r.oid) from pg_roles r where rolname = 'customer_api'"
    )
    assert (is_super, bypasses, inherits, owned) == (False, False, False, 0)


def _paths(customer: ServiceUnderTest) -> list[str]:
    document = customer.app.openapi()
    base = "/api/customer/v1"
    return [path.removeprefix(base) for path, operations in document["paths"].items() if "get" in operations]


async def _known_ids(customer: ServiceUnderTest, party_id: str) -> dict[str, list[Any]]:
    """What a path's parameters can be for one party, from the tables."""
    ((customer_id,),) = await customer.rows("select customer_id from customer where party_id = :id", id=party_id)
    accounts = await customer.rows("select account_id from account where customer_id = :id", id=customer_id)
    return {"customer_id": [customer_id], "account_id": [account_id for (account_id,) in accounts]}


async def test_no_read_shows_two_branches_anything_of_each_other(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    await push(customer, [posted("F2", 1, account_id="A2", balance_after_minor=99_999)], ids="finding")
    ids = {party_id: await _known_ids(customer, party_id) for party_id in ("P1", "P2")}
    shown: dict[str, set[str]] = {}
    bystanders = (AUDITOR, OPERATOR, program("corebanking:write"), manager("M9"), branch_head("B9"), manager("", ""))
    for path in _paths(customer):
        names = re.findall(r"{(\w+)}", path)
        for actor, own, others in ((M1, "P1", "P2"), (HEAD_1, "P1", "P2"), (M2, "P2", "P1"), (HEAD_2, "P2", "P1")):
            hidden = [str(value) for values in ids[others].values() for value in values] + [f"1000000{others[1]}"]
            for whose in ("P1", "P2"):
                values = {name: ids[whose].get(name, ["B1"])[0] for name in names}
                answer = await get(customer, path.format(**values), actor)
                assert answer.status_code in (200, 403, 404), (path, answer.text)
                shown.setdefault(path, set()).update(re.findall(r"1000000\d", answer.text))
                if whose == own or not names:
                    assert not any(value in answer.text for value in hidden), (path, actor)
                elif set(names) & {"customer_id", "account_id"}:
                    assert answer.status_code == 404, (path, actor)
        for actor in bystanders:
            values = {name: ids["P1"].get(name, ["B1"])[0] for name in names}
            answer = await get(customer, path.format(**values), actor)
            assert not re.search(r"1000000\d|Customer P", answer.text), (path, actor)
            if set(names) & {"customer_id", "account_id"}:
                assert answer.status_code == 404, (path, actor)
    assert shown["/customers"] == {"10000001", "10000002"}, "each did see their own"


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


async def test_lists_of_those_who_look_after_nobody_are_empty(customer: ServiceUnderTest) -> None:
    await two_branches(customer)
    await push(customer, lines([posted("T1", 1)], ids="t"))
    for actor in (AUDITOR, OPERATOR, program(), program("corebanking:write")):
        assert await listed(customer, actor=actor) == []
