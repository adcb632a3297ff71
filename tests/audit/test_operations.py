"""Every operation of every service leaves a row: those that are there, and whichever will be."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from services.catalog import SERVICES, compose
from services.documents.apis import Operation, example_of, operations, schemas_of
from services.documents.words import NoExample
from shared.ids import new_id
from shared.settings import PlatformSettings
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, auditor, manager, operator, program, under_test

WITHOUT_ROWS = {
    "list_problems": "tells what problems mean, to everyone, without a token",
    "read_problem": "tells what problems mean, to everyone, without a token",
}
UNDOCUMENTED = {
    "/healthz": "health, without a token",
    "/readyz": "health, without a token",
    "/metrics": "numbers that name nobody, without a token",
    "/api/{service}/v1/docs": "documentation, without a token",
    "/api/{service}/v1/docs/start.js": "documentation, without a token",
    "/api/{service}/v1/docs/assets": "documentation, without a token",
    "/api/{service}/v1/openapi.json": "documentation, without a token",
}
SOMEBODY = (manager(), auditor(), operator(), program("corebanking:write"))


@pytest.mark.parametrize("service", SERVICES)
async def test_every_operation_leaves_a_row_whoever_calls_it(service: str, new_database: NewDatabase) -> None:
    async with under_test(compose(service, PlatformSettings()), await new_database(service)) as running:
        document = running.app.openapi()
        found = operations(running.app, document)
        assert len(found) > 5
        for operation in found:
            if operation.is_public:
                assert operation.name in WITHOUT_ROWS, f"{operation.name} asks for no token and has no reason"
                continue
            for actor in SOMEBODY:
                before = await last_row(running)
                # A stream ends with the token that opened it.
                async with running.http(replace(actor, expires_at=datetime.now(UTC))) as http:
                    answer = await http.request(**call(operation, document), headers=headers(operation))
                assert answer.status_code not in (401, 429)
                assert answer.status_code < 500, (operation.name, answer.text)
                rows = await rows_after(running, before)
                assert {row["operation"] for row in rows} == {operation.name}, operation.name
                assert {row["actor"] for row in rows} == {actor.subject}
                (status,) = {row["status"] for row in rows}
                assert status == answer.status_code, operation.name
                refused = answer.status_code >= 400
                assert {row["outcome"] for row in rows} <= (
                    {"refused"} if refused else {"shown", "changed", "not_shown"}
                )
                reads = operation.method == "GET" or operation.document.get("x-reads")
                assert {row["action"] for row in rows} == {"read" if reads else "change"}


@pytest.mark.parametrize("service", SERVICES)
async def test_what_is_not_documented_shows_no_record(service: str, new_database: NewDatabase) -> None:
    async with under_test(compose(service, PlatformSettings()), await new_database(service)) as running:
        documented = set(running.app.openapi()["paths"])
        served = {str(getattr(route, "path", "")) for route in running.app.routes} - {""}
        allowed = {path.format(service=service) for path in UNDOCUMENTED}
        assert {path for path in served if path not in documented} <= allowed


@pytest.mark.parametrize("service", SERVICES)
async def test_the_purpose_is_documented(service: str, new_database: NewDatabase) -> None:
    async with under_test(compose(service, PlatformSettings()), await new_database(service)) as running:
        for operation in operations(running.app, running.app.openapi()):
            assert ("X-Purpose" in [parameter["name"] for parameter in operation.parameters]) is not operation.is_public
            assert operation.is_public or operation.problems["audit_unavailable"] == 503


def call(operation: Operation, document: Any) -> dict[str, Any]:
    """The operation with ids that nobody has and its own example as a body."""
    path = operation.path.split("/v1", 1)[1]
    query: dict[str, Any] = {}
    for parameter in operation.parameters:
        is_id = parameter["schema"].get("format") == "uuid"
        if parameter["in"] == "path":
            path = re.sub(f"{{{parameter['name']}(:path)?}}", str(new_id()) if is_id else "x", path)
        elif parameter["in"] == "query" and parameter.get("required"):
            query[parameter["name"]] = (parameter.get("schema", {}).get("examples") or [parameter.get("example", 1)])[0]
    told: dict[str, Any] = {"method": operation.method, "url": path, "params": query}
    for media, content in operation.bodies.items():
        if "json" in media:
            try:
                told["json"] = example_of(schemas_of(document), content)
            except NoExample:
                told["json"] = {}
            break
    return told


def headers(operation: Operation) -> dict[str, str]:
    told = {"If-Match": "*"} if operation.method in ("PUT", "PATCH", "DELETE") else {}
    if operation.bodies:
        told["Content-Type"] = next(iter(operation.bodies))
    return told


async def last_row(running: ServiceUnderTest) -> Any:
    ((last,),) = await running.rows("select coalesce(max(at), '-infinity'::timestamptz)::text from audit_record")
    return last


async def rows_after(running: ServiceUnderTest, before: Any) -> list[dict[str, Any]]:
    async with running.database.jobs.connect() as connection:
        found = await connection.execute(
            text(
                "select * from audit_record where at > cast(:before as timestamptz) and action <> 'audit' order by at"
            ),
            {"before": before},
        )
        return [dict(row) for row in found.mappings()]
