import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from shared.auth.principal import Role
from shared.web.idempotency import purge_idempotency_keys
from tests.shared.web.notes import NOW, Notes

CALL = {"subject": "Call back"}
KEY = {"Idempotency-Key": "k-1"}


async def test_the_same_key_and_body_creates_once_and_answers_the_same(notes: Notes) -> None:
    async with notes.http() as client:
        first = await client.post("/notes", json=CALL, headers=KEY)
        again = await client.post("/notes", json=CALL, headers=KEY)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    for header in ("location", "etag", "content-type", "content-length"):
        assert again.headers[header] == first.headers[header]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"], "the request is another"
    assert await notes.rows("select count(*) from note") == [(1,)]
    assert await notes.rows("select count(*) from outbox") == [(1,)]


async def test_the_key_is_optional(notes: Notes) -> None:
    async with notes.http() as client:
        await client.post("/notes", json=CALL)
        assert (await client.post("/notes", json=CALL)).json()["code"] == "subject_taken"
    assert await notes.rows("select count(*) from idempotency_key") == [(0,)]


async def test_another_body_under_the_same_key_is_refused(notes: Notes) -> None:
    async with notes.http() as client:
        await client.post("/notes", json=CALL, headers=KEY)
        answer = await client.post("/notes", json={"subject": "Other"}, headers=KEY)
        query = await client.post("/notes?a=1", json=CALL, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert (query.status_code, query.json()["code"]) == (422, "invalid_input"), "there is no such parameter"
    assert await notes.rows("select subject from note") == [("Call back",)]


async def test_a_refused_request_does_not_spoil_the_key(notes: Notes) -> None:
    async with notes.http() as client:
        invalid = await client.post("/notes", json={"subject": ""}, headers=KEY)
        taken = await notes.write(writer="M1", subject="Call back")
        conflict = await client.post("/notes", json=CALL, headers=KEY)
        await notes.rows("select 1")
        async with notes.database.jobs.begin() as connection:
            await connection.exec_driver_sql(f"delete from note where id = '{taken}'")
        created = await client.post("/notes", json=CALL, headers=KEY)
    assert [answer.status_code for answer in (invalid, conflict, created)] == [422, 409, 201]


async def test_while_the_first_is_under_way_the_second_waits_its_turn(notes: Notes) -> None:
    async with notes.http() as client:
        answers = await asyncio.gather(*(client.post("/notes", json=CALL, headers=KEY) for _ in range(8)))
        after = await client.post("/notes", json=CALL, headers=KEY)
    in_flight = [answer for answer in answers if answer.status_code == 409]
    done = [answer for answer in answers if answer.status_code == 201]
    assert len(done) + len(in_flight) == 8
    assert in_flight
    assert {answer.json()["code"] for answer in in_flight} == {"idempotency_key_in_flight"}
    assert {answer.headers["retry-after"] for answer in in_flight} == {"1"}
    assert {answer.content for answer in (*done, after)} == {after.content}
    assert await notes.rows("select count(*) from note") == [(1,)]


async def test_keys_are_each_principals_own(notes: Notes) -> None:
    async with notes.http("M1") as one, notes.http("M2", Role.MANAGER) as other:
        await one.post("/notes", json={"subject": "mine"}, headers=KEY)
        answer = await other.post("/notes", json={"subject": "yours"}, headers=KEY)
    assert answer.status_code == 201
    assert "idempotency-replayed" not in answer.headers


@pytest.mark.parametrize("key", ["", "k" * 256, "caf\u00e9", "a\tb"])
async def test_a_key_is_1_to_255_printable_characters(notes: Notes, key: str) -> None:
    async with notes.http() as client:
        answer = await client.post("/notes", json=CALL, headers=[(b"Idempotency-Key", key.encode())])
        longest = await client.post("/notes", json=CALL, headers={"Idempotency-Key": "k" * 255})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {
            "in": "header",
            "pointer": "/Idempotency-Key",
            "code": "invalid_idempotency_key",
            "detail": "Has 1 to 255 printable ASCII characters",
        }
    ]
    assert longest.status_code == 201


async def test_after_24_hours_a_key_is_new_again_and_its_answer_forgotten(notes: Notes) -> None:
    async with notes.http() as client:
        await client.post("/notes", json=CALL, headers=KEY)
        notes.app.state.clock = lambda: NOW + timedelta(hours=24)
        later = await client.post("/notes", json={"subject": "Later"}, headers=KEY)
        again = await client.post("/notes", json={"subject": "Later"}, headers=KEY)
    assert (later.status_code, again.headers.get("idempotency-replayed")) == (201, "true")
    async with notes.database.transaction() as session:
        assert await purge_idempotency_keys(session, NOW + timedelta(hours=47)) == 0
        assert await purge_idempotency_keys(session, NOW + timedelta(hours=48)) == 1


async def test_an_answer_that_could_not_be_stored_did_not_happen(notes: Notes) -> None:
    async with notes.database.jobs.begin() as connection:
        await connection.exec_driver_sql("revoke insert on idempotency_key from notes_api")
    try:
        async with notes.http() as client:
            answer = await client.post("/notes", json=CALL, headers=KEY)
    finally:
        async with notes.database.jobs.begin() as connection:
            await connection.exec_driver_sql("grant insert on idempotency_key to notes_api")
    assert answer.status_code == 500
    assert await notes.rows("select count(*) from note") == [(0,)]


async def test_a_stored_answer_is_sealed_and_opens_only_where_it_was_stored(notes: Notes) -> None:
    other = {"Idempotency-Key": "another"}
    async with notes.http() as client:
        first = await client.post("/notes", json=CALL, headers=KEY)
        await client.post("/notes", json={"subject": "Other"}, headers=other)
        ((sealed, _), _) = await notes.rows("select sealed, customer_id from idempotency_key order by created_at")
        assert b"Call back" in first.content
        assert b"Call back" not in sealed
        async with notes.database.jobs.begin() as connection:
            await connection.execute(text("update idempotency_key set sealed = :sealed"), {"sealed": sealed})
        answers = [
            await client.post("/notes", json=CALL, headers=KEY),
            await client.post("/notes", json={"subject": "Other"}, headers=other),
        ]
    assert answers[0].json() == first.json()
    assert (answers[1].status_code, answers[1].json()["code"]) == (410, "stored_answer_gone")
