"""Every table of every service has a rule for erasure: nothing about a customer is forgotten to be deleted."""

import re

import pytest

from services.catalog import SERVICES
from services.customer import personal_data as customer
from services.interaction import personal_data as interaction
from services.notification import personal_data as notification
from services.scoring import personal_data as scoring
from shared.erasure.rules import Deleted, Rules
from shared.ids import new_id
from tests.conftest import NewDatabase
from tests.harness import rows_as_owner

RULES: dict[str, Rules] = {
    "customer": customer.RULES,
    "interaction": interaction.RULES,
    "scoring": scoring.RULES,
    "notification": notification.RULES,
}
NAMES_A_CUSTOMER = {"customer_id", "account_id", "alert_id", "key"}
"""Columns of which a table may be about somebody."""
KEPT_THOUGH_IT_NAMES_ONE = {
    *{"data_key", "purge", "outbox"},
    *{"erasure"},
}

_COLUMNS = """
    select c.relname, array_agg(a.attname::text)
    from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    group by c.relname
"""


@pytest.mark.parametrize("service", SERVICES)
async def test_every_table_has_a_rule_and_what_names_a_customer_is_deleted_or_known_to_be_kept(
    service: str, new_database: NewDatabase
) -> None:
    rules = RULES[service]
    columns = dict(await rows_as_owner(await new_database(service), _COLUMNS))
    assert rules.keys() == columns.keys()
    kept = {table for table, rule in rules.items() if not isinstance(rule, Deleted)}
    assert {table for table in kept if NAMES_A_CUSTOMER & set(columns[table])} <= KEPT_THOUGH_IT_NAMES_ONE


@pytest.mark.parametrize("service", SERVICES)
async def test_every_rule_is_sql_that_an_index_or_a_small_table_answers(
    service: str, new_database: NewDatabase
) -> None:
    database = await new_database(service)
    for table, rule in RULES[service].items():
        if isinstance(rule, Deleted):
            query = f"explain delete from {table} where {rule.which}"
            assert await rows_as_owner(database, query, customer_id=new_id()), table
            assert rule.about or rule.not_shown, f"{table} says neither what it is nor why it is not exported"
            assert not rule.about or re.match(r"[a-z]", rule.about)
