"""Every service's OpenAPI document is valid and says what HTTP clients need to know."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from services.catalog import SERVICES
from services.documents.apis import JSON_TYPES, Operation, example_of, openapi, operations, schemas_of
from services.documents.line import DocumentedLine
from services.documents.words import NoExample, Schemas
from shared.database import Database
from shared.keyring import AuditKeys
from shared.sealing.master_keys import LocalMasterKeys
from shared.service import Platform, build_app
from shared.web.problems import problem_types
from tests.contracts.references import unresolved
from tests.harness import KnownTokens, NoBroker
from tests.keys import MASTER_KEYS

SNAKE_CASE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

Document = dict[str, Any]


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def document(service: str, line: DocumentedLine) -> Document:
    return openapi(line.apps[service])


@pytest.fixture
def found(service: str, line: DocumentedLine, document: Document) -> list[Operation]:
    return operations(line.apps[service], document)


async def test_what_is_documented_is_what_is_served(service: str, line: DocumentedLine, document: Document) -> None:
    database = Database("postgresql://nobody@/nothing", "postgresql://nobody@/nothing")
    platform = Platform(
        settings=line.platform,
        verifier=KnownTokens(),  # type: ignore[arg-type] # the same one method
        publisher=NoBroker(),
        source=NoBroker,
        audit_keys=AuditKeys.generate(),
        master_keys=LocalMasterKeys(MASTER_KEYS),
    )
    served = openapi(build_app(line.services[service], database, platform, background=False))
    assert {**served, "info": {**served["info"], "version": "1"}} == document


def test_a_document_is_valid(document: Document) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_reference_leads_somewhere(document: Document) -> None:
    assert unresolved(document) == []


def test_every_operation_of_the_document_is_among_those_looked_at(document: Document, found: list[Operation]) -> None:
    in_document = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert in_document == {(operation.method, operation.path) for operation in found}


def test_every_path_is_below_its_service(service: str, found: list[Operation]) -> None:
    assert [each.path for each in found if not each.path.startswith(f"/api/{service}/v1/")] == []


def test_operation_ids_are_unique_and_snake_case(found: list[Operation]) -> None:
    assert [name for name, count in Counter(each.name for each in found).items() if count > 1] == []
    assert [each.name for each in found if not SNAKE_CASE.fullmatch(each.name)] == []


def test_every_operation_has_a_summary_a_description_and_a_tag(found: list[Operation]) -> None:
    required = ("summary", "description", "tags")
    assert [(each.name, what) for each in found for what in required if not each.document.get(what)] == []


def test_every_parameter_is_documented(found: list[Operation]) -> None:
    bare = {
        f"{each.name} {parameter['name']}"
        for each in found
        for parameter in each.parameters
        if not parameter.get("description")
    }
    assert bare == set()


def test_every_body_and_answer_in_json_has_an_example_that_its_schema_allows(
    document: Document, found: list[Operation]
) -> None:
    assert set(_faults_of_examples(document, found)) == set()


def _faults_of_examples(document: Document, found: list[Operation]) -> Iterator[str]:
    schemas = schemas_of(document)
    for operation in found:
        contents = [*operation.bodies.items(), *((media, content) for _status, media, content in operation.answers)]
        for media, content in contents:
            if media not in JSON_TYPES:
                continue
            try:
                example = example_of(schemas, content)
            except NoExample as missing:
                yield f"{operation.name} {missing}"
                continue
            for error in _validator(document, content["schema"]).iter_errors(example):
                yield f"{operation.name} {error.json_path}: {error.message}"


def _validator(document: Document, schema: Mapping[str, Any]) -> OAS31Validator:
    return OAS31Validator({**schema, "components": document["components"]}, format_checker=oas31_format_checker)


def test_fields_are_snake_case(document: Document) -> None:
    assert [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field in schema.get("properties", {})
        if not SNAKE_CASE.fullmatch(field)
    ] == []


Rule = tuple[Callable[[Operation], bool], set[str]]

REFUSALS: dict[str, Rule] = {
    "needs a token": (
        lambda each: not each.is_public,
        {"missing_token", "invalid_token", "token_expired", "too_many_requests", "unexpected_error", "request_timeout"},
    ),
    "reads a body": (
        lambda each: bool(each.bodies),
        {"malformed_body", "body_too_large", "unsupported_media_type"},
    ),
    "has parameters": (lambda each: bool(each.parameters) and not each.is_public, {"invalid_input"}),
    "lists": (lambda each: any(p["name"] == "cursor" for p in each.parameters), {"invalid_cursor"}),
    "changes what was read": (
        lambda each: each.method in ("PUT", "PATCH", "DELETE"),
        {"precondition_required", "stale_version"},
    ),
    "creates": (
        lambda each: each.method == "POST" and "201" in each.document["responses"],
        {"idempotency_key_in_flight", "idempotency_key_reused"},
    ),
}


@pytest.mark.parametrize("rule", REFUSALS)
def test_an_operation_documents_what_it_refuses(rule: str, found: list[Operation]) -> None:
    applies, codes = REFUSALS[rule]
    silent = {f"{each.name} {code}" for each in found if applies(each) for code in codes - each.problems.keys()}
    assert silent == set()


def test_an_operation_for_some_says_so_when_it_refuses(found: list[Operation]) -> None:
    for each in found:
        refuses = bool({"forbidden", "insufficient_scope"} & each.problems.keys())
        assert refuses == (each.allows is not None), each.name


def test_a_path_that_names_one_thing_documents_that_it_may_not_be_there(found: list[Operation]) -> None:
    assert [each.name for each in found if "{" in each.path and 404 not in each.problems.values()] == []


def test_every_documented_problem_is_one_that_the_service_explains(service: str, found: list[Operation]) -> None:
    explained = {code: problem.status for code, problem in problem_types(f"services.{service}").items()}
    for each in found:
        assert each.problems.items() <= explained.items(), each.name


CREATED = {
    "customer": {"delegate_portfolio", "erase_customer", "export_customer"},
    "interaction": {"log_contact", "record_outcome"},
    "scoring": set[str](),
    "notification": set[str](),
}


def test_what_is_created_leads_to_what_reads_it(service: str, found: list[Operation]) -> None:
    methods = {each.name: each.method for each in found}
    leading = {
        each.name
        for each in found
        for response in each.document["responses"].values()
        if each.method == "POST" and any(methods[name] == "GET" for name in response.get("links", {}))
    }
    assert leading == CREATED[service]


def test_a_link_leads_to_an_operation_with_values_that_the_answer_has(
    document: Document, found: list[Operation]
) -> None:
    schemas = schemas_of(document)
    by_name = {each.name: each for each in found}
    looked_at = 0
    for each in found:
        for response in each.document["responses"].values():
            for link in response.get("links", {}).values():
                target = by_name[link["operationId"]]
                parameters = {f"{p['in']}.{p['name']}" for p in target.parameters}
                required = {f"{p['in']}.{p['name']}" for p in target.parameters if p["in"] == "path"}
                assert required <= link["parameters"].keys() <= parameters, (each.name, target.name)
                fields = set(_pointers(schemas, response["content"]["application/json"]["schema"]))
                asked = {f"$request.path.{p['name']}" for p in each.parameters if p["in"] == "path"}
                known = fields | asked | {"$response.header.ETag"}
                assert set(link["parameters"].values()) <= known, (each.name, target.name)
                looked_at += 1
    assert looked_at


def _pointers(schemas: Schemas, schema: Mapping[str, Any], place: str = "$response.body#") -> Iterator[str]:
    """Expressions for an answer's fields, and for those of the first item of a list."""
    named = schemas.named[name] if (name := schemas.name_of(schema)) else schema
    for field, stated in named.get("properties", {}).items():
        yield f"{place}/{field}"
        if field == "items":
            yield from _pointers(schemas, stated["items"], f"{place}/items/0")


def test_every_problem_of_the_service_is_documented_somewhere(service: str, found: list[Operation]) -> None:
    own = {
        code
        for code, problem in problem_types(f"services.{service}").items()
        if problem.__module__.startswith("services.")
    }
    assert own - {code for each in found for code in each.problems} == set()


IN_PARTS = {"replay_dead_letters", "edit_dead_letters", "replay_kept_events"}


def test_a_list_that_grows_is_paged(document: Document, found: list[Operation]) -> None:
    """What has a page has `limit` and `cursor`, and the other way round; what does something in parts is a POST."""
    schemas = schemas_of(document)
    for each in found:
        shown = [schemas.name_of(content["schema"]) or "" for _status, media, content in each.answers if media]
        is_page = any(name.startswith("Page_") for name in shown)
        names = {parameter["name"] for parameter in each.parameters}
        assert ({"limit", "cursor", "sort"} <= names) == (is_page or each.name in IN_PARTS), each.name
        assert each.method == "POST" or each.name not in IN_PARTS


def test_a_post_that_creates_takes_an_idempotency_key(found: list[Operation]) -> None:
    for each in found:
        takes = any(parameter["name"] == "Idempotency-Key" for parameter in each.parameters)
        assert takes == (each.method == "POST" and bool({"201", "202"} & each.document["responses"].keys())), each.name


def test_what_changes_asks_for_what_was_read(found: list[Operation]) -> None:
    for each in found:
        takes = any(parameter["name"] == "If-Match" and parameter["required"] for parameter in each.parameters)
        assert takes == (each.method in ("PUT", "PATCH", "DELETE")), each.name


def test_a_service_tells_who_asks(service: str, found: list[Operation]) -> None:
    assert ("GET", f"/api/{service}/v1/me") in {(each.method, each.path) for each in found}
