"""Nobody sees another's customers, whatever a handler forgets: by policies in the database, on every table."""

import re

import pytest

from services.catalog import SERVICES
from tests.access.tables import COLUMNS_UPDATED, TABLES, Secured
from tests.conftest import NewDatabase
from tests.harness import rows_as_owner

_TABLES = """
    select relname, relrowsecurity and relforcerowsecurity,
      coalesce((select array_agg(polname::text) from pg_policy p where p.polrelid = c.oid), '{}'),
      coalesce((select bool_and(polroles = array[(:service || case when polname = relname || '_owner' then ''
                else '_api' end)::regrole::oid]) from pg_policy p where p.polrelid = c.oid), true),
      array (select privilege from unnest(array['select', 'insert', 'update', 'delete', 'truncate']) privilege
             where has_table_privilege(:service || '_api', c.oid, privilege)
                or privilege not in ('delete', 'truncate')
                   and has_any_column_privilege(:service || '_api', c.oid, privilege))
    from pg_class c where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')
"""


@pytest.mark.parametrize("service", SERVICES)
async def test_every_table_has_policies_or_a_reason_and_no_more_grants_than_listed(
    service: str, new_database: NewDatabase
) -> None:
    seen = set()
    for relation, is_forced, policies, are_for_whom, granted in await rows_as_owner(
        await new_database(service), _TABLES, service=service
    ):
        table = re.sub(r"^posting_\d+$", "posting", re.sub(r"^audit_record_.+$", "audit_record_month", relation))
        declared = TABLES[service][table]
        seen.add(table)
        assert set(granted) == declared.granted, table
        if isinstance(declared, Secured):
            assert is_forced, table
            assert set(policies) == {f"{table}_owner", f"{table}_requests", *declared.also}, table
            assert are_for_whom, table
        else:
            assert declared.reason
            assert policies == [], table
    assert seen == TABLES[service].keys()


@pytest.mark.parametrize("service", SERVICES)
async def test_requests_update_no_more_columns_than_listed(service: str, new_database: NewDatabase) -> None:
    database = await new_database(service)
    updated = await rows_as_owner(
        database,
        "select c.relname, attname from pg_attribute join pg_class c on c.oid = attrelid"
        " where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and attnum > 0"
        " and has_column_privilege(:role, attrelid, attnum, 'update')"
        " and not has_table_privilege(:role, attrelid, 'update')",
        role=f"{service}_api",
    )
    by_table: dict[tuple[str, str], set[str]] = {}
    for table, column in updated:
        by_table.setdefault((service, table), set()).add(column)
    assert by_table == {table: columns for table, columns in COLUMNS_UPDATED.items() if table[0] == service}


@pytest.mark.parametrize("service", SERVICES)
async def test_whoever_serves_requests_owns_nothing_and_passes_no_policy(
    service: str, new_database: NewDatabase
) -> None:
    ((is_super, bypasses, inherits, owned),) = await rows_as_owner(
        await new_database(service),
        "select rolsuper, rolbypassrls, pg_has_role(:role, :owner, 'member'),"
        " (select count(*) from pg_class where relowner = r.oid) from pg_roles r where rolname = :role",
        role=f"{service}_api",
        owner=service,
    )
    assert (is_super, bypasses, inherits, owned) == (False, False, False, 0)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_owner_of_tables_is_no_superuser_whom_policies_would_not_bind(
    service: str, new_database: NewDatabase
) -> None:
    ((is_super, bypasses),) = await rows_as_owner(
        await new_database(service), "select rolsuper, rolbypassrls from pg_roles where rolname = :role", role=service
    )
    assert (is_super, bypasses) == (False, False)
