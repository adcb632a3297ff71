import asyncio
from typing import Any

import pytest
from starlette.types import Message, Scope

from shared.auth.dependencies import Actor
from shared.auth.principal import Role
from shared.web.transaction import JobSession, Session, service_router
from tests.shared.web.notes import BASE, Notes


async def test_an_answer_tells_of_what_is_committed_with_its_events(notes: Notes) -> None:
    async with notes.http() as client:
        answer = await client.post("/notes", json={"subject": "Call back"})
    assert answer.status_code == 201
    assert await notes.rows("select subject from note") == [("Call back",)]
    ((event_type, traceparent),) = await notes.rows("select type, traceparent from outbox")
    assert event_type == "notification.alert_snoozed.v1"
    assert traceparent.split("-")[1] == answer.headers["traceparent"].split("-")[1]
    assert notes.database.outbox_written.is_set(), "the relay need not wait for its next look"


async def test_it_is_committed_before_the_first_byte_is_sent(notes: Notes) -> None:
    async with notes.http() as client:
        authorization = client.headers["authorization"]
    body = b'{"subject": "Call back"}'
    headers = {"content-type": "application/json", "content-length": str(len(body)), "authorization": authorization}
    seen: list[Any] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        seen.append((message["type"], await notes.rows("select count(*) from note")))

    await notes.app(_post(f"{BASE}/notes", headers), receive, send)
    assert seen[0] == ("http.response.start", [(1,)])


def _post(path: str, headers: dict[str, str]) -> Scope:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "scheme": "http",
        "server": ("notes.test", 80),
    }


@pytest.mark.parametrize(("how", "status"), [("raises", 500), ("400", 400), ("409", 409), ("500", 500)])
async def test_what_fails_leaves_nothing(notes: Notes, how: str, status: int) -> None:
    note_id = await notes.write(subject="as it was")
    async with notes.http() as client:
        answer = await client.post(f"/notes/{note_id}/spoil", params={"how": how})
    assert answer.status_code == status
    assert await notes.rows("select subject from note") == [("as it was",)]


async def test_a_failed_commit_is_not_answered_with_success(notes: Notes) -> None:
    await notes.rows("select 1")
    async with notes.database.jobs.begin() as connection:
        await connection.exec_driver_sql(
            "alter table note add constraint at_commit exclude (version with =) deferrable initially deferred"
        )
    try:
        await notes.write(version=1)
        async with notes.http() as client:
            answer = await client.post("/notes", json={"subject": "one too many"})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert await notes.rows("select count(*) from note") == [(1,)]
        assert await notes.rows("select count(*) from outbox") == [(0,)]
    finally:
        async with notes.database.jobs.begin() as connection:
            await connection.exec_driver_sql("alter table note drop constraint at_commit")


async def test_the_database_knows_who_asks_for_this_transaction_only(notes: Notes) -> None:
    async with notes.http("M7") as client, notes.http("H1", Role.BRANCH_HEAD) as other:
        answers = [(await each.get("/settings")).json() for each in (client, other, client)]
    assert answers[0] == answers[2]
    assert answers[0] == {
        "branchline.role": "manager",
        "branchline.staff_id": "M7",
        "branchline.branch_id": "B1",
        "statement_timeout": "5s",
        "role": "none",
        "user": "notes_api",
    }
    assert (answers[1]["branchline.role"], answers[1]["branchline.staff_id"]) == ("branch_head", "H1")
    async with notes.database.requests.connect() as connection:
        left = await connection.exec_driver_sql("select current_setting('branchline.staff_id', true)")
        assert not left.scalar(), "a connection goes back to the pool without them"


async def test_requests_at_once_see_each_their_own(notes: Notes) -> None:
    owners = [f"M{number}" for number in range(12)]
    ids = [await notes.write(writer=owner) for owner in owners]

    async def seen_by(owner: str) -> list[int]:
        async with notes.http(owner) as client:
            return [(await client.get(f"/notes/{note_id}")).status_code for note_id in ids]

    seen = await asyncio.gather(*map(seen_by, owners))
    for index, statuses in enumerate(seen):
        assert [at for at, status in enumerate(statuses) if status == 200] == [index]


async def test_a_job_session_sees_all_as_the_owner(notes: Notes) -> None:
    await notes.write(writer="M1")
    await notes.write(writer="M2")
    async with notes.http() as client:
        assert (await client.post("/import")).json() == {"notes": 2, "user": "notes"}


@pytest.mark.parametrize("how", ["python", "database"])
async def test_what_takes_too_long_is_given_up_and_gives_its_connection_back(notes: Notes, how: str) -> None:
    async with notes.http() as client:
        answer = await asyncio.wait_for(client.get("/sleep", params={"how": how}), 3)
        assert answer.status_code == 503
        assert answer.json()["code"] == "request_timeout"
        assert answer.headers["retry-after"] == "1"
    (running,) = await notes.rows(
        "select count(*) from pg_stat_activity where usename = 'notes_api' and state <> 'idle'"
    )
    assert running == (0,)


async def test_a_time_out_leaves_nothing(notes: Notes) -> None:
    note_id = await notes.write(subject="as it was")
    notes.app.state.settings.request_timeout_seconds = 0.2
    async with notes.http() as client:
        answer = await client.post(f"/notes/{note_id}/spoil", params={"how": "times_out"})
    assert (answer.status_code, answer.json()["code"]) == (503, "request_timeout")
    assert await notes.rows("select subject from note") == [("as it was",)]


async def test_a_commit_is_not_given_up_half_way(notes: Notes) -> None:
    async with notes.database.jobs.begin() as connection:
        for statement in (
            "create function dawdle() returns trigger language plpgsql as"
            " 'begin perform pg_sleep(0.6); return null; end'",
            "create constraint trigger dawdle after insert on note deferrable initially deferred"
            " for each row execute function dawdle()",
        ):
            await connection.exec_driver_sql(statement)
    notes.app.state.settings.request_timeout_seconds = 0.4
    try:
        async with notes.http() as client:
            answer = await client.post("/notes", json={"subject": "slow to commit"})
    finally:
        async with notes.database.jobs.begin() as connection:
            await connection.exec_driver_sql("drop function dawdle cascade")
    assert answer.status_code == 201
    assert await notes.rows("select subject from note") == [("slow to commit",)]


async def test_a_stream_reads_in_transactions_of_its_own(notes: Notes) -> None:
    await notes.write(writer="M1", subject="mine")
    await notes.write(writer="M2", subject="not mine")
    async with notes.http("M1") as client:
        assert (await client.get("/export")).text == "mine\n"


def test_what_would_hold_a_transaction_open_or_create_without_one_is_refused_where_it_is_declared() -> None:
    router = service_router(tag="wrong")

    async def stream(session: Session) -> Any:
        yield session

    async def both(session: Session, jobs: JobSession) -> None: ...

    async def creates(actor: Actor) -> None: ...

    with pytest.raises(TypeError, match="holds no transaction"):
        router.get("/a")(stream)
    with pytest.raises(TypeError, match="one transaction"):
        router.get("/b")(both)
    for change in (router.put, router.patch, router.delete):
        with pytest.raises(TypeError, match="If-Match"):
            change("/d")(creates)
    with pytest.raises(TypeError, match="Idempotency-Key"):
        router.post("/c", status_code=201)(creates)


async def test_a_service_reads_no_body_of_who_has_no_token(notes: Notes) -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await notes.app(_post(f"{BASE}/notes", {"content-type": "application/json"}), receive, send)
    assert sent[0]["status"] == 401
