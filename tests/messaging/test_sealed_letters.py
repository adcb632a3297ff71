"""Dead letters are nobody's to read, go with their customer's key, and expire when they name none."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from services.catalog import SERVICES, compose
from shared.embedded_postgres import EmbeddedPostgres
from shared.ids import new_id
from shared.jobs import forget_unattributed
from shared.messaging.dead_letters import Parked, park
from shared.messaging.records import Record
from shared.migrations import migrate
from shared.sealing.data_keys import keys_of
from shared.settings import PlatformSettings
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, operator, under_test
from tests.interaction.branch import customer_changed
from tests.keys import MASTER_KEYS

SECRET = "Lin Meiqi of Quiet Lane 7"
PAYLOAD = json.dumps({"note": SECRET}).encode()


async def parked(service: ServiceUnderTest, *customers: UUID | None) -> list[dict[str, Any]]:
    """A letter of each; what an operator sees of them in a list, the oldest first."""
    async with service.database.transaction() as session:
        records = [
            Record("customer.events", 0, number, str(customer).encode() if customer else None, PAYLOAD, ())
            for number, customer in enumerate(customers)
        ]
        await park(session, [Parked(record, "handler_failed", "of a test") for record in records])
    async with service.http(operator()) as http:
        items: list[dict[str, Any]] = (await http.get("/dead-letters", params={"sort": "parked_at"})).json()["items"]
    return sorted(items, key=lambda letter: letter["offset"])


async def destroy(service: ServiceUnderTest, customer: UUID) -> None:
    async with service.database.transaction() as session:
        await keys_of(session).destroy(session, customer)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_letter_is_sealed_with_its_customers_key_and_gone_with_it(name: str, new_database: NewDatabase) -> None:
    async with under_test(compose(name, PlatformSettings()), await new_database(name)) as service:
        customer, stranger = new_id(), new_id()
        async with service.database.jobs.begin() as connection:
            await connection.execute(
                text(
                    "insert into customer_scope (customer_id, customer_number, branch_id, branch_path, revision)"
                    " values (:id, '1', 'B1', '{B1}', 1)"
                ),
                {"id": customer},
            )
        letters = await parked(service, customer, stranger, None)
        assert len(letters) == 3
        assert await service.rows('select customer_id from dead_letter order by "offset"') == [
            (customer,),
            (None,),
            (None,),
        ]
        for (row,) in await service.rows("select l::text || encode(sealed, 'escape') from dead_letter l"):
            assert "Meiqi" not in row
        async with service.http(operator()) as http:
            paths = [f"/dead-letters/{letter['id']}" for letter in letters]
            for path in paths:
                assert (await http.get(path)).json()["record"]["payload"] == PAYLOAD.decode()
            change = {"payload_patch": {"note": "mended"}}
            assert (await http.patch(paths[0], json=change, headers={"If-Match": "*"})).status_code == 200
            assert SECRET in (await http.get(paths[0])).json()["history"][0]["payload"]

            await destroy(service, customer)
            shown = (await http.get(paths[0])).json()
            assert (shown["record"]["payload"], shown["record"]["is_gone"]) == (None, True)
            assert (shown["history"][0]["payload"], shown["history"][0]["is_gone"]) == (None, True)
            refused = await http.patch(paths[0], json={"payload": "{}"}, headers={"If-Match": "*"})
            assert (refused.status_code, refused.json()["code"]) == (410, "dead_letter_gone")
            again = (await http.post(f"{paths[0]}/replay")).json()
            assert (again["outcome"], again["dead_letter"]["code"]) == ("parked", "payload_gone")
            assert (await http.get(paths[1])).json()["record"]["is_gone"] is False
        assert len(await parked(service, customer)) == 3, "what comes late of who was erased is not kept"


async def test_what_a_producer_writes_into_headers_and_key_is_not_kept_in_the_clear(new_database: NewDatabase) -> None:
    headers = {
        "ce_specversion": b"1.0",
        "ce_id": SECRET.encode(),
        "ce_type": b"customer.changed.v1",
        "ce_source": "\u6797\u7f8e\u7426".encode(),
        "ce_subject": b"LinMeiqi",
        "note": SECRET.encode(),
        "LinMeiqi": b"1",
        "content-type": b"application/json; charset=utf-8",
        "traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    async with under_test(compose("scoring", PlatformSettings()), await new_database("scoring")) as service:
        async with service.database.transaction() as session:
            for number, key in enumerate((SECRET.encode(), b"CN12 3456", str(new_id()).encode(), None)):
                record = Record("customer.events", 0, number, key, PAYLOAD, tuple(headers.items()))
                await park(session, [Parked(record, "malformed_headers", "of a test")])
        rows = await service.rows('select type, event_id, key is null, headers from dead_letter order by "offset"')
        told = {name: headers[name].decode() for name in ("ce_specversion", "ce_type", "content-type", "traceparent")}
        assert rows == [("customer.changed.v1", None, is_null, told) for is_null in (True, True, False, True)]
        for (row,) in await service.rows("select l::text || encode(sealed, 'escape') from dead_letter l"):
            assert "Meiqi" not in row


async def test_what_names_no_known_customer_expires_and_a_customers_stays(new_database: NewDatabase) -> None:
    async with under_test(compose("scoring", PlatformSettings()), await new_database("scoring")) as service:
        known = customer_changed()
        await service.deliver([known])
        _, of_nobody = await parked(service, known.customer_id, None)
        async with service.http(operator()) as http:
            change = {"payload_patch": {"note": "mended"}}
            path = f"/dead-letters/{of_nobody['id']}"
            assert (await http.patch(path, json=change, headers={"If-Match": "*"})).status_code == 200
        in_29, in_31 = (datetime.now(UTC) + timedelta(days=days) for days in (29, 31))
        await forget_unattributed(service.database, lambda: in_29)
        assert await service.count("dead_letter") == 2
        await forget_unattributed(service.database, lambda: in_31)
        assert await service.rows("select customer_id from dead_letter") == [(known.customer_id,)]
        assert await service.count("dead_letter_edit") == 0


async def test_what_was_kept_as_it_came_is_sealed_and_can_be_opened_again(postgres: EmbeddedPostgres) -> None:
    name = f"letters_{new_id().hex}"
    postgres.provision(name, "scoring", "scoring_api")
    url = postgres.url("scoring", name)
    await migrate("scoring", url, "0007")
    customer = new_id()
    engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    async with engine.begin() as connection:
        for statement in (
            "insert into customer_scope (customer_id, customer_number, branch_id, branch_path, revision)"
            " values (:id, '1', 'B1', '{B1}', 1)",
            'insert into dead_letter (id, topic, partition, "offset", key, payload, headers, code, detail)'
            " select gen_random_uuid(), 't', 0, n, case when n % 2 = 0 then convert_to(cast(:id as text), 'utf8') end,"
            " case when n < 600 then convert_to(:secret || n, 'utf8') end, '{}', 'c', 'd'"
            " from generate_series(1, 601) n",
            'insert into dead_letter_edit (id, letter_id, topic, partition, "offset", payload, headers, edited_at,'
            " edited_by) select gen_random_uuid(), id, topic, partition, \"offset\", payload, '{}', now(), 'OP1'"
            ' from dead_letter where "offset" <= 2',
            "insert into idempotency_key values"
            " ('\\x01', '\\x02', 201, '{\"etag\": \"1\"}', convert_to(:secret, 'utf8'), now())",
        ):
            given = {"id": customer, "secret": SECRET}
            used = {key: value for key, value in given.items() if f":{key}" in statement}
            await connection.execute(text(statement), used)
    plain = (
        'select "offset", key, payload from dead_letter order by 1',
        'select "offset", payload from dead_letter_edit order by 1',
        "select key_hash, body_hash, status, headers, body, created_at from idempotency_key",
    )

    async def rows(query: str) -> list[tuple[Any, ...]]:
        async with engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(query))]

    before = [await rows(query) for query in plain]
    await migrate("scoring", url, "0008", master_keys=MASTER_KEYS)
    sealed = await rows('select customer_id, sealed from dead_letter order by "offset"')
    assert [row[0] for row in sealed[:4]] == [None, customer, None, customer]
    assert (len(sealed), sum(row[1] is None for row in sealed)) == (601, 2)
    for table in ("dead_letter", "dead_letter_edit", "idempotency_key"):
        for (row,) in await rows(f"select t::text || encode(sealed, 'escape') from {table} t where sealed is not null"):
            assert "Meiqi" not in row
    await migrate("scoring", url, "-1", master_keys=MASTER_KEYS)
    assert [await rows(query) for query in plain] == before
    await engine.dispose()
