import asyncio
import json
import re
from importlib.resources import files

import httpx
import pytest
from fastapi import APIRouter
from openapi_spec_validator import validate

from shared.auth.dependencies import Actor
from shared.auth.principal import Role
from shared.database import Database
from shared.settings import PlatformSettings
from shared.web import health
from shared.web.app import create_api
from shared.web.transaction import service_router
from tests.shared.web.notes import BASE, KnownTokens, Notes, notes_app


async def test_who_am_i_tells_what_the_token_says(notes: Notes) -> None:
    async with notes.http("M7", Role.MANAGER, scopes=["b", "a"]) as client:
        assert (await client.get("/me")).json() == {
            "subject": "M7",
            "role": "manager",
            "staff_id": "M7",
            "branch_id": "B1",
            "scopes": ["a", "b"],
        }


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "missing_token"),
        ("", "missing_token"),
        ("Bearer", "missing_token"),
        ("Bearer ", "missing_token"),
        ("Basic bWU6eA==", "missing_token"),
        ("Bearer unknown", "invalid_token"),
    ],
)
async def test_every_operation_asks_for_a_token(notes: Notes, authorization: str | None, code: str) -> None:
    document = notes.app.openapi()
    async with notes.http(None) as client:
        if authorization is not None:
            client.headers["authorization"] = authorization
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if operation.get("security") == []:
                    continue
                url = "http://notes.test" + re.sub(r"\{\w+\}", "1", path)
                answer = await client.request(method, url)
                assert (answer.status_code, answer.json()["code"]) == (401, code), (method, path)
                assert answer.headers["www-authenticate"].startswith('Bearer realm="branchline"')
                assert ("error=" in answer.headers["www-authenticate"]) is (code == "invalid_token")


async def test_only_the_explanations_of_problems_are_open(notes: Notes) -> None:
    operations = [
        (path, method)
        for path, methods in notes.app.openapi()["paths"].items()
        for method, operation in methods.items()
        if operation.get("security") == []
    ]
    assert operations == [(f"{BASE}/problems", "get"), (f"{BASE}/problems/{{code}}", "get")]


async def test_a_scheme_is_named_in_any_case(notes: Notes) -> None:
    async with notes.http() as client:
        client.headers["authorization"] = client.headers["authorization"].replace("Bearer", "bEARER")
        assert (await client.get("/me")).status_code == 200


async def test_a_role_may_do_what_it_is_named_for_and_nothing_else(notes: Notes) -> None:
    for role in Role:
        async with notes.http("X1", role) as client:
            answer = await client.get("/reports/1")
            malformed = await client.get("/reports/x")
        if role in (Role.HEAD_OFFICE, Role.OPERATOR):
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert malformed.status_code == 403, "who may not ask is not told what is wrong with the question"


async def test_a_program_does_what_its_scope_names(notes: Notes) -> None:
    for role, scopes, status in (
        (Role.SERVICE, ["notes:write"], 200),
        (Role.SERVICE, ["notes:write", "other"], 200),
        (Role.SERVICE, ["notes:writer"], 403),
        (Role.SERVICE, [], 403),
        (Role.HEAD_OFFICE, ["notes:write"], 403),
    ):
        async with notes.http("core", role, scopes=scopes) as client:
            answer = await client.post("/feed", content=b"abc")
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["code"] == "insufficient_scope"
            assert 'error="insufficient_scope", scope="notes:write"' in answer.headers["www-authenticate"]


def test_a_route_that_would_ask_nobody_for_a_token_is_refused_when_the_service_is_made() -> None:
    open_router = APIRouter()

    @open_router.get("/open")
    async def read_open() -> None: ...

    nested = service_router(tag="nested")
    nested.include_router(open_router, prefix="/deep")
    for router in (open_router, nested):
        with pytest.raises(TypeError, match="would ask nobody for a token"):
            create_api(
                title="T", service_name="t", version="1", routers=[router], settings=PlatformSettings(), package="t"
            )


def test_two_operations_of_one_name_are_refused_when_the_service_is_made() -> None:
    router = service_router(tag="twice")

    async def read_thing(actor: Actor) -> None: ...

    router.get("/a")(read_thing)
    router.get("/b")(read_thing)
    with pytest.raises(TypeError, match="2 operations are called read_thing"):
        create_api(title="T", service_name="t", version="1", routers=[router], settings=PlatformSettings(), package="t")


async def test_every_answer_carries_a_request_id_its_trace_and_the_security_headers(notes: Notes) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    asked = {"X-Request-Id": "from-the-gateway-1", "traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    async with notes.http() as client:
        for path in ("/me", "/nowhere", "/notes?limit=0"):
            answer = await client.get(path, headers=asked)
            assert answer.headers["x-request-id"] == "from-the-gateway-1"
            assert answer.headers["traceparent"].startswith(f"00-{trace_id}-")
            assert not answer.headers["traceparent"].endswith("b7ad6b7169203331-01"), "the span is this request's own"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
            assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
            assert answer.headers["cache-control"] == "no-store"
            if answer.status_code >= 400:
                assert answer.json()["trace_id"] == trace_id


@pytest.mark.parametrize("stated", ["", "x" * 101, "a b", "<script>", "a;b", 'a"b'])
async def test_a_request_id_that_is_none_is_not_repeated(notes: Notes, stated: str) -> None:
    async with notes.http() as client:
        answer = await client.get("/me", headers={"X-Request-Id": stated})
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])


async def test_strict_transport_is_asked_for_where_there_is_tls() -> None:
    app = notes_app(None, KnownTokens(), public_url="http://127.0.0.1:8080")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notes.test") as client:
        assert "strict-transport-security" not in (await client.get("/healthz")).headers


async def test_only_named_origins_may_call_from_a_page() -> None:
    tokens = KnownTokens()
    app = notes_app(None, tokens, cors_origins="https://crm.bank.example, https://other.bank.example")
    client = Notes(app, None, tokens).http()  # type: ignore[arg-type] # no operation here reads the database
    async with client:
        ask = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization, if-match"}
        named = await client.options("/me", headers={"Origin": "https://crm.bank.example", **ask})
        other = await client.options("/me", headers={"Origin": "https://evil.example", **ask})
        read = await client.get("/me", headers={"Origin": "https://crm.bank.example"})
        failed = await client.get("/nowhere", headers={"Origin": "https://crm.bank.example"})
    assert named.headers["access-control-allow-origin"] == "https://crm.bank.example"
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-credentials" not in read.headers
    assert {"ETag", "Retry-After"} <= set(read.headers["access-control-expose-headers"].split(", "))
    assert failed.headers["access-control-allow-origin"] == "https://crm.bank.example", "a page can read why it failed"


async def test_an_unexpected_failure_reaches_a_page_too(notes: Notes) -> None:
    app = notes_app(notes.database, notes.tokens, cors_origins="https://crm.bank.example")
    app.state.clock = lambda: 1 / 0
    async with Notes(app, notes.database, notes.tokens).http() as client:
        headers = {"Origin": "https://crm.bank.example", "Idempotency-Key": "k"}
        answer = await client.post("/notes", json={"subject": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (500, "unexpected_error")
    assert answer.headers["access-control-allow-origin"] == "https://crm.bank.example"
    assert answer.headers["x-request-id"]


async def test_health_is_the_process_and_readiness_its_dependencies(notes: Notes) -> None:
    async with notes.http(None) as client:
        assert (await client.get("http://notes.test/healthz")).json() == {"status": "ok", "service": "notes"}
        ready = await client.get("http://notes.test/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ok", "dependencies": {"database": "ok"}})


async def test_what_is_not_ready_is_named_without_why() -> None:
    async def broken() -> None:
        raise RuntimeError("password=hush")

    nowhere = Database("postgresql://x:hush@127.0.0.1:1/x", "postgresql://x:hush@127.0.0.1:1/x")
    app = create_api(
        title="T",
        service_name="t",
        version="1",
        routers=[],
        settings=PlatformSettings(),
        database=nowhere,
        checks={"transport": broken},
        package="t",
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t.test") as client:
        answer = await client.get("/readyz")
        assert (await client.get("/healthz")).status_code == 200
    assert answer.status_code == 503
    assert answer.json()["dependencies"] == {"database": "unavailable", "transport": "unavailable"}
    assert "hush" not in answer.text
    await nowhere.close()


async def test_a_dependency_that_hangs_is_not_waited_for_and_each_is_asked_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 0.05)
    asked = 0

    async def hangs() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(30)

    readiness = health.Readiness({"transport": hangs})
    looks = await asyncio.wait_for(asyncio.gather(*(readiness.look() for _ in range(20))), 2)
    assert looks == [{"transport": "timeout"}] * 20
    assert asked == 1


async def test_requests_are_counted_by_their_routes_template(notes: Notes) -> None:
    note_id = await notes.write()
    async with notes.http() as client:
        await client.get(f"/notes/{note_id}?name=hush")
        await client.get("/nowhere/hush")
        await client.request("HUSH", "/notes")
        counted = (await client.get("http://notes.test/metrics")).text
    template = f"{BASE}/notes/{{note_id}}"
    assert f'branchline_http_requests_total{{method="GET",route="{template}",service="notes",status="422"}}' in counted
    assert 'route="unmatched",service="notes",status="404"' in counted
    assert 'method="other"' in counted
    assert f'branchline_http_request_seconds_bucket{{le="0.005",method="GET",route="{template}"' in counted
    assert "hush" not in counted.lower()
    assert str(note_id) not in counted


async def test_the_request_log_names_the_route_and_no_values(notes: Notes, capsys: pytest.CaptureFixture[str]) -> None:
    note_id = await notes.write(writer="M7")
    async with notes.http("M7") as client:
        answer = await client.get(f"/notes/{note_id}?name=hush", headers={"X-Request-Id": "r-1"})
        await client.get("http://notes.test/healthz")
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"event": "request"' in line]
    assert line == {
        "event": "request",
        "level": "info",
        "service": "notes",
        "request_id": "r-1",
        "method": "GET",
        "route": f"{BASE}/notes/{{note_id}}",
        "status": 422,
        "subject": "M7",
        "trace_id": answer.headers["traceparent"].split("-")[1],
        "span_id": answer.headers["traceparent"].split("-")[2],
        "ms": line["ms"],
        "at": line["at"],
    }


async def test_the_openapi_document_is_valid_and_tells_what_holds_for_every_operation(notes: Notes) -> None:
    async with notes.http(None) as client:
        document = (await client.get("/openapi.json")).json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["security"] == [{"bearer": []}]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["operationId"]
            assert operation["summary"]
            if operation.get("security") == []:
                continue
            for status in ("401", "429", "500", "503"):
                content = operation["responses"][status]["content"]
                assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/ProblemRead"}
            takes_key = any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))
            assert takes_key == ("201" in operation["responses"] and method == "post"), path
            if "requestBody" in operation:
                assert {"400", "413", "415", "422"} <= operation["responses"].keys()
    write = document["paths"][f"{BASE}/notes"]["post"]
    assert list(write["responses"]["409"]["content"]["application/problem+json"]["examples"]) == [
        "subject_taken",
        "idempotency_key_in_flight",
    ]
    report = document["paths"][f"{BASE}/reports/{{report_id}}"]["get"]
    assert "Role head_office or operator." in report["description"]
    assert "403" in report["responses"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    change = document["paths"][f"{BASE}/notes/{{note_id}}"]["patch"]
    assert {"412", "428"} <= change["responses"].keys()
    assert "304" in document["paths"][f"{BASE}/notes/{{note_id}}"]["get"]["responses"]
    listed = document["paths"][f"{BASE}/notes"]["get"]["responses"]["422"]["content"]["application/problem+json"]
    assert list(listed["examples"]) == ["invalid_cursor", "purpose_required", "invalid_input", "unstorable_value"]
    example = listed["examples"]["invalid_cursor"]["value"]
    assert example["type"] == f"https://bank.example{BASE}/problems/invalid_cursor"


async def test_the_documentation_needs_nothing_from_elsewhere(notes: Notes) -> None:
    async with notes.http(None) as client:
        page = await client.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert linked == ["data:,", "docs/assets/swagger-ui.css", "docs/assets/swagger-ui-bundle.js", "docs/start.js"]
        for each in linked[1:]:
            assert (await client.get(f"/{each}")).status_code == 200
        assert "<script>" not in page.text
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "default-src 'none'" in policy
        assert 'url: "openapi.json"' in (await client.get("/docs/start.js")).text
        assert (await client.get("/docs/assets/../LICENSE.py")).status_code == 404
    assert (files("fastapi_standalone_docs") / "static" / "swagger" / "LICENSE").is_file()
