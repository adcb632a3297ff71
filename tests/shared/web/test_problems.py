import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from structlog.testing import capture_logs

from shared.database import Database
from shared.web.problems import json_pointer, problem_of, problem_types
from shared.web.refusals import InvalidInput, Problem
from tests.shared.web.notes import BASE, Notes

SECRET = "4711-hush"
JSON = {"content-type": "application/json"}


def told(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Checks that the answer is a problem as RFC 9457 and http.md have it, and gives its body."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"https://bank.example{BASE}/problems/{code}"
    assert body["title"]
    assert body["detail"]
    assert body["trace_id"] == answer.headers["traceparent"].split("-")[1]
    assert SECRET not in answer.text
    return body


async def test_a_refusal_of_the_services_own_says_what_it_is(notes: Notes) -> None:
    async with notes.http() as client:
        told(await client.get(f"/notes/{uuid4()}"), 404, "note_not_found")


async def test_what_the_framework_refuses_is_a_problem_too(notes: Notes) -> None:
    async with notes.http() as client:
        told(await client.get("/nowhere"), 404, "not_found")
        told(await client.get("/notes/"), 404, "not_found")
        told(await client.get("http://notes.test/elsewhere"), 404, "not_found")
        assert told(await client.delete("/notes"), 405, "method_not_allowed")
        told(
            await client.post("/notes", content=b"subject=x", headers={"content-type": "text/plain"}),
            415,
            "unsupported_media_type",
        )
        told(await client.post("/notes", content=b'{"subject": "x"}'), 415, "unsupported_media_type")
        encoded = await client.post("/notes", json={"subject": "x"}, headers={"content-encoding": "gzip"})
        told(encoded, 415, "unsupported_media_type")
        told(await client.get(f"/notes/{SECRET}"), 422, "invalid_input")
        assert told(await client.post("/notes"), 422, "invalid_input")["errors"][0]["pointer"] == ""


async def test_a_wrong_method_tells_the_right_ones(notes: Notes) -> None:
    async with notes.http() as client:
        assert (await client.delete("/notes")).headers["allow"] == "GET, POST"
        assert (await client.put(f"/notes/{uuid4()}")).headers["allow"] == "GET, PATCH"


async def test_each_wrong_value_is_pointed_to_and_not_repeated(notes: Notes) -> None:
    body = {"subject": "", "rank": SECRET, "written_at": SECRET, "nested": [{"subject": "x", "a/b~c": SECRET}]}
    async with notes.http() as client:
        refused = told(await client.post("/notes", json=body), 422, "invalid_input")
        query = told(await client.get("/notes", params={"limit": "201", "cursor": "x" * 3000}), 422, "invalid_input")
    assert [(error["in"], error["pointer"], error["code"]) for error in refused["errors"]] == [
        ("body", "/subject", "string_too_short"),
        ("body", "/rank", "int_parsing"),
        ("body", "/written_at", "datetime_from_date_parsing"),
        ("body", "/nested/0/a~1b~0c", "extra_forbidden"),
    ]
    assert refused["errors"][0]["detail"] == "String should have at least 1 character"
    assert {(error["in"], error["pointer"]) for error in query["errors"]} == {("query", "/limit"), ("query", "/cursor")}
    assert refused["detail"] == "4 values are not as they must be."
    assert [error["detail"] for error in refused["errors"]][1:3] == [
        "Input cannot be read as int",
        "Input cannot be read as datetime",
    ]


async def test_a_rules_own_text_is_told_unless_it_quotes_what_was_sent(notes: Notes) -> None:
    async with notes.http() as client:
        plain = told(await client.post("/notes", json={"subject": "void"}), 422, "invalid_input")
        quoting = told(await client.post("/notes", json={"subject": f"quote {SECRET}"}), 422, "invalid_input")
    assert plain["errors"][0]["detail"] == "says nothing"
    assert quoting["errors"][0]["detail"] == "Input is not as it must be"


@given(subject=st.text(), rank=st.text(min_size=4), extra=st.text(min_size=4), written_at=st.text(min_size=4))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_whatever_is_sent_is_never_repeated_nor_a_fault_of_ours(
    notes: Notes, subject: str, rank: str, extra: str, written_at: str
) -> None:
    body = {"subject": subject, "rank": rank, "written_at": written_at, "labels": [extra]}
    async with notes.http(timeout=20) as client:
        answer = await client.post("/notes", content=json.dumps(body).encode(), headers=JSON)
    assert answer.status_code in (422, 400) or rank.strip().lstrip("+-").replace("_", "").isdigit()
    assert answer.status_code < 500
    if answer.status_code == 422:
        assert rank not in [error["detail"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed_body"),
        (b'{"subject": "4711-hush"', 400, "malformed_body"),
        (b"\xff\xfe", 400, "malformed_body"),
        (b'{"subject": "\xff"}', 400, "malformed_body"),
        (b'{"subject": "x", "rank": NaN}', 400, "malformed_body"),
        (b'{"subject": "x", "rank": -Infinity}', 400, "malformed_body"),
        (b'{"subject": "x", "size": ' + b"9" * 5000 + b"}", 400, "malformed_body"),
        (b"[" * 100_000, 400, "malformed_body"),
        (b'{"a":' * 50_000, 400, "malformed_body"),
        (b'{"subject": "x", "labels": {"a": ' + b"[" * 900 + b"]" * 900 + b"}}", 201, ""),
        (b'{"subject": "a\\u0000b"}', 422, "invalid_input"),
        (b'{"subject": "a\\ud800b"}', 422, "invalid_input"),
        (b'{"subject": "x", "labels": {"a\\u0000": 1}}', 422, "invalid_input"),
        (b'{"subject": "x", "labels": {"a": ["\\uDFFF"]}}', 422, "invalid_input"),
        (b'{"subject": "x", "labels": {"\\ud800": "\\u0000"}}', 422, "invalid_input"),
        (b'{"subject": "\\ud83d\\ude00 and \\\\u0000"}', 201, ""),
        (b'{"subject": "x", "size": 9223372036854775808}', 422, "unstorable_value"),
        (b'{"subject": "x", "rank": 2147483648}', 422, "unstorable_value"),
        (b'{"subject": "x", "written_at": "0000-01-01T00:00:00Z"}', 422, "invalid_input"),
        (b"null", 422, "invalid_input"),
        (b"[]", 422, "invalid_input"),
        (b'""', 422, "invalid_input"),
        (b'{"subject": "x", "subject": "y"}', 201, ""),
    ],
)
async def test_hostile_bodies_are_the_senders_fault(notes: Notes, body: bytes, status: int, code: str) -> None:
    async with notes.http() as client:
        answer = await client.post("/notes", content=body, headers=JSON)
    if code:
        told(answer, status, code)
    else:
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/notes/%00",
        "/notes/a%00b",
        "/notes?sort=%00",
        "/notes?cursor=%00",
        "/notes/%ED%A0%80",
        "/notes?limit=99999999999999999999999",
        "/notes?limit=-1",
        "/notes?limit=1e3",
        "/notes?sort=;drop",
        "/notes?sort=",
        "/notes/" + "9" * 4000,
        "/notes?sort=%ff%fe",
    ],
)
async def test_hostile_addresses_are_the_senders_fault(notes: Notes, path: str) -> None:
    async with notes.http() as client:
        told(await client.get(path), 422, "invalid_input")


async def test_a_nul_is_pointed_to(notes: Notes) -> None:
    async with notes.http() as client:
        body = b'{"subject": "x", "labels": {"a": ["b", {"c": "\\u0000"}]}}'
        refused = told(await client.post("/notes", content=body, headers=JSON), 422, "invalid_input")
    assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [("/labels/a/1/c", "unkeepable_text")]


async def test_what_nobody_expected_tells_its_trace_id_and_nothing_else(notes: Notes) -> None:
    note_id = await notes.write()
    with capture_logs() as logs:
        async with notes.http() as client:
            refused = told(await client.post(f"/notes/{note_id}/spoil?how=raises"), 500, "unexpected_error")
    assert "4711" not in json.dumps(refused)
    (logged,) = [record for record in logs if record["event"] == "unexpected_error"]
    assert isinstance(logged["exc_info"], RuntimeError)


async def test_a_database_fault_shows_no_sql(notes: Notes) -> None:
    await notes.write(subject=f"{SECRET} of another", writer="M2")
    async with notes.http("M1") as client:
        # The unique index knows of a row that this principal may not see.
        told(await client.post("/notes", json={"subject": f"{SECRET} of another"}), 409, "conflict")


async def test_a_database_that_is_away_is_said_to_be(notes: Notes) -> None:
    nowhere = Database("postgresql://x@127.0.0.1:1/x", "postgresql://x@127.0.0.1:1/x")
    notes.app.state.database = nowhere
    async with notes.http() as client:
        answer = await client.get("/notes")
    told(answer, 503, "database_unavailable")
    assert answer.headers["retry-after"] == "2"
    await nowhere.close()


async def test_each_problem_is_explained_where_its_type_points_without_a_token(notes: Notes) -> None:
    async with notes.http(None) as client:
        listed = (await client.get("/problems")).json()
        for problem in listed:
            explained = await client.get(problem["type"].replace("https://bank.example", "http://notes.test"))
            assert explained.json() == problem
        told(await client.get("/problems/unheard_of"), 404, "not_found")
    codes = [problem["code"] for problem in listed]
    assert codes == sorted(codes)
    assert {"note_not_found", "invalid_token", "stale_version", "idempotency_key_reused"} <= set(codes)
    assert all(problem["remedy"] and problem["title"] for problem in listed)


def test_a_status_that_only_the_framework_raises_is_explained_too() -> None:
    problem = problem_of(HTTPException(418))
    assert problem is not None
    assert (problem.status, problem.title, problem.code) == (418, "I'm a Teapot", "http_error")
    assert "http_error" in problem_types("services.customer")


def test_a_service_lists_no_others_problems() -> None:
    assert "note_not_found" not in problem_types("services.customer")


def test_two_problems_do_not_share_a_code() -> None:
    class First(Problem):
        status, code, title = 400, "shared_code", "First"

    class Second(Problem):
        status, code, title = 400, "shared_code", "Second"

    First.__module__ = Second.__module__ = "services.example.errors"
    with pytest.raises(TypeError, match="one code for both"):
        problem_types("services.example")


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"status": 404, "code": "x"},
        {"status": 404, "code": "Not-Snake", "title": "T"},
        {"status": 200, "code": "x", "title": "T"},
    ],
)
def test_a_problem_declares_its_status_code_and_title(declared: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        type("Odd", (Problem,), declared)


def test_a_pointer_is_escaped_and_short() -> None:
    assert json_pointer(["a/b", "c~d", 0, "x" * 200]) == "/a~1b/c~0d/0/" + "x" * 100


def test_a_rule_of_a_use_case_points_like_a_schema_does() -> None:
    problem = InvalidInput.at("/until", "too_late", "Is after the end")
    assert problem.members["errors"] == [
        {"in": "body", "pointer": "/until", "code": "too_late", "detail": "Is after the end"}
    ]
