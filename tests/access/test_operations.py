"""Nothing of another branch's customers is readable, writable, countable or guessable, in any operation."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from services.catalog import SERVICES
from shared.auth.principal import Principal, Role
from tests.access.banks import Side, nobody, two_branches
from tests.access.operations import OPERATIONS, Listing, Probe
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, auditor, branch_head, head_office, manager, operator, program

VARYING = {"x-request-id", "traceparent", "ratelimit", "content-length"}
BYSTANDERS = (auditor(), operator(), program(), program("corebanking:write"))


@contextmanager
def statements(service: ServiceUnderTest) -> Iterator[list[str]]:
    """What requests ask of the database meanwhile, in order."""
    asked: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    engines = (service.database.requests.sync_engine, service.database.jobs.sync_engine)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", note)


def _filled(template: Any, ids: dict[str, str]) -> Any:
    return json.loads(re.sub(r"{(\w+)}", lambda match: ids[match[1]], json.dumps(template)))


async def _send(service: ServiceUnderTest, actor: Principal, probe: Probe, ids: dict[str, str]) -> httpx.Response:
    own = {"own_manager_id": actor.staff_id or "", "own_colleague_id": (actor.staff_id or "")}
    if actor.branch_id:
        own = {"own_manager_id": f"M{actor.branch_id[1:]}", "own_colleague_id": f"C{actor.branch_id[1:]}"}
    ids = {**ids, **own}
    async with service.http(actor) as http:
        return await http.request(
            probe.method,
            _filled(probe.path, ids),
            params=_filled(dict(probe.query), ids),
            json=_filled(probe.body, ids),
            headers=dict(probe.headers),
        )


def _shown(answer: httpx.Response, ids: dict[str, str]) -> tuple[Any, ...]:
    """All of an answer that could tell something, without the ids that were asked for."""
    body = re.sub(r'"trace_id":"\w+"', "", answer.text)
    for value in ids.values():
        body = body.replace(value, "…")
    return answer.status_code, body, {k: v for k, v in answer.headers.items() if k not in VARYING}


async def _contents(service: ServiceUnderTest) -> dict[str, Any]:
    """A digest of every table that holds what customers, staff or events are about."""
    found = await service.rows(
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
        " and relname not like 'audit%' order by 1"
    )
    digest = "select count(*), md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from"
    return {table: (await service.rows(f"{digest} {table} t"))[0] for (table,) in found}


@pytest.mark.parametrize("name", SERVICES)
async def test_no_operation_tells_anything_of_the_other_branch(name: str, new_database: NewDatabase) -> None:
    async with two_branches(name, new_database) as (service, sides):
        document = service.app.openapi()
        operations = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
        assert operations <= OPERATIONS[name].keys(), "each operation says how it is walked"
        walked = {each: OPERATIONS[name][each] for each in operations}
        before = await _contents(service)
        for operation_id, operation in walked.items():
            for mine, others in (sides, sides[::-1]):
                for actor in (*mine.people, manager("M9", "B9"), branch_head("", "H9"), manager("", "")):
                    if isinstance(operation, Probe):
                        await _probe_others(service, operation_id, operation, actor, others)
                    elif isinstance(operation, Listing):
                        await _list_nothing_of(service, operation_id, operation, actor, others)
        assert await _contents(service) == before, "nothing was written"
        for operation_id, operation in walked.items():
            for side in sides:
                await _use_own(service, operation_id, operation, side)


async def _probe_others(
    service: ServiceUnderTest, operation_id: str, probe: Probe, actor: Principal, others: Side
) -> None:
    unknown = nobody(others)
    await _send(service, actor, probe, unknown)  # so that neither is the first, which reads what is then kept
    with statements(service) as asked_for_others:
        theirs = await _send(service, actor, probe, others.ids)
    with statements(service) as asked_for_nobodys:
        nobodys = await _send(service, actor, probe, unknown)
    told = (operation_id, actor, theirs.text)
    assert _shown(theirs, others.ids) == _shown(nobodys, unknown), told
    assert asked_for_others == asked_for_nobodys, told
    assert theirs.status_code in (200, 403, 404, 422), told
    if theirs.status_code == 200:
        assert theirs.json()["items"] == [], told
    # What was asked for may be repeated in a 200; nothing else of theirs may be there.
    asked = set(re.findall(r"{(\w+)}", json.dumps([probe.path, probe.body, dict(probe.query)])))
    hidden = others.marks - {others.ids[kind] for kind in asked & others.ids.keys()}
    assert not [mark for mark in hidden if mark in theirs.text], told


async def _list_nothing_of(
    service: ServiceUnderTest, operation_id: str, listing: Listing, actor: Principal, others: Side
) -> None:
    unknown = nobody(others)
    async with service.http(actor) as http:
        listed = await http.get(listing.path, params=dict(listing.query))
        assert listed.status_code == 200, (operation_id, listed.text)
        assert set(listed.json()) == listing.members, operation_id
        assert not [mark for mark in others.marks if mark in listed.text], (operation_id, actor, listed.text)
        for name in listing.filters:
            answers = []
            for ids in (others.ids, unknown):
                with statements(service) as asked:
                    answer = await http.get(listing.path, params={**listing.query, name: ids[name]})
                answers.append((_shown(answer, ids), asked))
            assert answers[0] == answers[1], (operation_id, name)
            assert '"items":[]' in answers[0][0][1], (operation_id, name)


async def _use_own(service: ServiceUnderTest, operation_id: str, operation: Any, side: Side) -> None:
    """What tells nothing of the others does tell of one's own: the walk would notice."""
    for actor in side.people:
        if isinstance(operation, Probe) and actor.role in operation.roles:
            answer = await _send(service, actor, operation, side.ids)
            is_anothers_inbox = "item_id" in operation.path and actor.role is Role.BRANCH_HEAD
            expected = (404,) if is_anothers_inbox else operation.own
            assert answer.status_code in expected, (operation_id, actor, answer.text)
        elif isinstance(operation, Listing) and actor.role is Role.MANAGER:
            async with service.http(actor) as http:
                listed = await http.get(operation.path, params=dict(operation.query))
            is_count = "items" not in operation.members
            assert is_count or any(mark in listed.text for mark in side.marks), (operation_id, listed.text)
            assert not is_count or sum(listed.json().values()) == 1, (operation_id, listed.text)


@pytest.mark.parametrize("name", SERVICES)
async def test_whoever_looks_after_nobody_is_refused_before_anything_is_read(
    name: str, new_database: NewDatabase
) -> None:
    """Auditors read the audit and nothing else, operators what went wrong, programs what their scope says."""
    async with two_branches(name, new_database) as (service, (side, _)):
        for path, methods in service.app.openapi()["paths"].items():
            for method, described in methods.items():
                operation = OPERATIONS[name][described["operationId"]]
                address = re.sub(r"{(\w+)}", lambda match: side.ids.get(match[1], "B1"), path)
                for actor in (*BYSTANDERS, *side.people, head_office()):
                    if actor.role in operation.roles:
                        continue
                    async with service.http(actor) as http:
                        answer = await http.request(
                            method, f"http://branchline.test{address}", headers={"If-Match": "*"}
                        )
                    told = (method, path, actor, answer.text)
                    assert answer.status_code == 403, told
                    assert answer.json()["code"] in ("forbidden", "insufficient_scope"), told
