"""What could not be delivered is mended, one by one or by filter; what it was is kept, with who changed it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from shared.events.customer import LifeEventReported, SurveyReported
from shared.ids import new_id
from shared.jobs import forget_what_is_past
from shared.messaging.dead_letters import field_of
from shared.messaging.editing import KEEP_EDITS, merge, open_edits
from shared.messaging.replay import open_payload
from shared.messaging.tables import dead_letter, dead_letter_edit
from shared.sealing.kept import Plain, seal_to_keep
from tests.harness import ServiceUnderTest, operator
from tests.messaging.test_operators import Moods, effects, moods, park, service

__all__ = ["moods", "service"]

PERSONAL = "Zhang Wei, 13800000000"


async def spoil(service: ServiceUnderTest, *letters: dict[str, Any], payload: bytes) -> None:
    async with service.database.transaction() as session:
        plains = [Plain(field_of(UUID(letter["id"])), payload) for letter in letters]
        for letter, kept in zip(letters, await seal_to_keep(session, "dead_letter", plains), strict=True):
            assert kept is not None
            await session.execute(
                text("update dead_letter set sealed = :sealed, customer_id = null where id::text = :id"),
                {"sealed": kept.sealed, "id": letter["id"]},
            )


async def test_an_edited_letter_is_replayed_as_it_is_now_and_what_it_was_is_kept(
    service: ServiceUnderTest, moods: Moods
) -> None:
    (letter,) = await park(service, moods, 7)
    await spoil(service, letter, payload=b"\xff not json")
    path = f"/dead-letters/{letter['id']}"
    async with service.http(operator()) as http:
        read = await http.get(path)
        assert (read.json()["record"]["payload"], read.json()["record"]["payload_base64"]) == (None, "/yBub3QganNvbg==")
        customer = read.json()["key"]
        mended = json.dumps(
            {"customer_id": customer, "survey_id": str(new_id()), "answered_at": "2026-11-24T00:00:00Z", "score": 8}
        )
        edited = await http.patch(path, json={"payload": mended}, headers={"If-Match": read.headers["ETag"]})
        assert (edited.status_code, edited.json()["edits"]) == (200, 1)
        shown = await http.get(path)
        assert shown.headers["ETag"] == edited.headers["ETag"] != read.headers["ETag"]
        assert shown.json()["record"]["payload"] == mended
        (before,) = shown.json()["history"]
        assert (before["payload_base64"], before["edited_by"]) == ("/yBub3QganNvbg==", "OP1")
        assert datetime.fromisoformat(before["edited_at"]).tzinfo is not None
        assert (await http.post(f"{path}/replay")).json()["outcome"] == "delivered"
    assert await effects(service) == [8]
    ((letter_id, by, topic),) = await service.rows("select letter_id::text, edited_by, topic from dead_letter_edit")
    assert (letter_id, by, topic) == (letter["id"], "OP1", letter["topic"]), "it outlives the letter"
    async with service.database.transaction() as session:
        edits = (await session.execute(select(dead_letter_edit))).all()
        assert await open_edits(session, edits) == [b"\xff not json"]


async def test_headers_are_edited_too_and_the_letter_is_found_by_what_it_says_now(
    service: ServiceUnderTest, moods: Moods
) -> None:
    (letter,) = await park(service, moods, 7)
    async with service.http(operator()) as http:
        path = f"/dead-letters/{letter['id']}"
        change = {"headers": {"ce_type": "customer.survey_reported.v9", "note": "x"}}
        assert (await http.patch(path, json=change, headers={"If-Match": "*"})).status_code == 200
        assert (await http.post(f"{path}/replay")).json()["dead_letter"]["code"] == "unknown_event_type"
        (found,) = (await http.get("/dead-letters", params={"type": "customer.survey_reported.v9"})).json()["items"]
        assert (found["edits"], found["replays"]) == (1, 1)
        back = {"headers": {"ce_type": SurveyReported.TYPE, "note": None}}
        await http.patch(path, json=back, headers={"If-Match": "*"})
        shown = (await http.get(path)).json()
        assert "note" not in shown["record"]["headers"]
        assert [edit["headers"].get("note") for edit in shown["history"]] == [None, "x"]
        assert (await http.post(f"{path}/replay")).json()["outcome"] == "delivered"
    assert await effects(service) == [7]


async def test_an_edit_names_what_its_editor_has_seen(service: ServiceUnderTest, moods: Moods) -> None:
    (letter,) = await park(service, moods, 7)
    path, change = f"/dead-letters/{letter['id']}", {"payload_patch": {"score": 8}}
    async with service.http(operator()) as http:
        seen = {"If-Match": (await http.get(path)).headers["ETag"]}
        unseen = await http.patch(path, json=change)
        assert (unseen.status_code, unseen.json()["code"]) == (428, "precondition_required")
        answers = await asyncio.gather(*(http.patch(path, json=change, headers=seen) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 412, 412]
        moods.failing = {8}
        seen = {"If-Match": (await http.get(path)).headers["ETag"]}
        await http.post(f"{path}/replay")
        stale = await http.patch(path, json={"payload_patch": {"score": 9}}, headers=seen)
        assert (stale.status_code, stale.json()["code"]) == (412, "stale_version"), "it has another reason since"
    assert await service.count("dead_letter_edit") == 1


async def test_an_edit_that_changes_nothing_is_none(service: ServiceUnderTest, moods: Moods) -> None:
    (letter,) = await park(service, moods, 7)
    path = f"/dead-letters/{letter['id']}"
    async with service.http(operator()) as http:
        before = await http.get(path)
        for change in ({"payload_patch": {"score": 7}}, {"headers": {"ce_type": SurveyReported.TYPE, "none": None}}):
            answer = await http.patch(path, json=change, headers={"If-Match": before.headers["ETag"]})
            assert (answer.status_code, answer.json()["edits"]) == (200, 0)
        assert (await http.get(path)).json() == before.json()
    assert await service.count("dead_letter_edit") == 0


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"payload": "{not json"}, "/payload"),
        ({"payload": ""}, "/payload"),
        ({"payload": "{}", "payload_patch": {}}, ""),
        ({}, ""),
        ({"headers": {}}, ""),
        ({"headers": {"": "x"}}, "/headers/"),
        ({"headers": {"ce_type": 7}}, "/headers/ce_type"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_changes_nothing(
    service: ServiceUnderTest, moods: Moods, change: dict[str, Any], pointer: str
) -> None:
    (letter,) = await park(service, moods, 7)
    async with service.http(operator()) as http:
        answer = await http.patch(f"/dead-letters/{letter['id']}", json=change, headers={"If-Match": "*"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"].startswith(pointer)
        missing = await http.patch(f"/dead-letters/{new_id()}", json={"payload": "1"}, headers={"If-Match": "*"})
        assert (missing.status_code, missing.json()["code"]) == (404, "dead_letter_not_found")
    assert await service.count("dead_letter_edit") == 0


async def test_a_filter_says_which_are_counted_edited_and_replayed(service: ServiceUnderTest, moods: Moods) -> None:
    letters = await park(service, moods, *range(6))
    async with service.database.jobs.begin() as connection:
        for number, letter in enumerate(letters):  # one batch parks all of them at one instant
            await connection.execute(
                text("update dead_letter set parked_at = :at, code = :code, topic = :topic where id::text = :id"),
                {
                    "at": datetime(2026, 11, 20 + number, tzinfo=UTC),
                    "code": "handler_failed" if number % 2 else "malformed_event",
                    "topic": letter["topic"] if number < 4 else "elsewhere",
                    "id": letter["id"],
                },
            )
    async with service.http(operator()) as http:

        async def count(**filters: str) -> int:
            summary = (await http.get("/dead-letters/summary", params=filters)).json()
            assert summary["total"] == sum(kind["count"] for kind in summary["kinds"])
            listed = (await http.get("/dead-letters", params=filters)).json()["items"]
            assert len(listed) == summary["total"]
            return int(summary["total"])

        assert await count() == 6
        assert await count(code="malformed_event") == 3
        assert await count(topic="elsewhere") == 2
        assert await count(topic="elsewhere", code="malformed_event") == 1
        assert await count(type=LifeEventReported.TYPE) == 0
        days = {"parked_from": "2026-11-21T00:00:00Z", "parked_until": "2026-11-23T00:00:00Z"}
        assert await count(**days) == 2
        edited = (await http.post("/dead-letters/edit", params=days, json={"payload_patch": {"score": 70}})).json()
        assert edited == {"edited": 2, "unchanged": 0, "refused": [], "next": None}
        again = (await http.post("/dead-letters/edit", params=days, json={"payload_patch": {"score": 70}})).json()
        assert again == {"edited": 0, "unchanged": 2, "refused": [], "next": None}
        replayed = (await http.post("/dead-letters/replay", params=days)).json()
        assert replayed == {"delivered": 2, "parked": [], "next": None}
        assert await count() == 4
    assert await effects(service) == [70, 70]


async def test_one_that_cannot_be_edited_or_fails_again_stops_no_other(service: ServiceUnderTest, moods: Moods) -> None:
    letters = await park(service, moods, *range(5))
    await spoil(service, letters[2], payload=b"[1]")
    async with service.http(operator()) as http:
        edited = (await http.post("/dead-letters/edit", json={"payload_patch": {"score": 9}})).json()
        assert (edited["edited"], edited["refused"]) == (4, [letters[2]["id"]])
        replayed = (await http.post("/dead-letters/replay")).json()
        assert replayed["delivered"] == 4
        assert [(each["id"], each["code"]) for each in replayed["parked"]] == [(letters[2]["id"], "malformed_event")]
    assert await effects(service) == [9] * 4
    assert await service.count("dead_letter") == 1


async def test_a_long_list_is_replayed_in_parts_that_each_commit(service: ServiceUnderTest, moods: Moods) -> None:
    await park(service, moods, *range(7))
    now = datetime.now(UTC)
    async with service.database.transaction() as session:
        for letter in (await session.execute(select(dead_letter))).all():
            score = json.loads(await open_payload(session, letter) or b"")["score"]
            later = {"parked_at": now + timedelta(seconds=score)}
            await session.execute(update(dead_letter).where(dead_letter.c.id == letter.id).values(later))
    moods.failing = {1}
    seen = 0
    cursor: dict[str, str] = {}
    async with service.http(operator()) as http:
        for _ in range(4):
            part = (await http.post("/dead-letters/replay", params={"limit": 2, **cursor})).json()
            seen += part["delivered"] + len(part["parked"])
            assert await service.count("dead_letter") == 7 - seen + 1
            if part["next"] is None:
                break
            cursor = {"cursor": part["next"]}
        wrong = await http.post("/dead-letters/replay", params={"cursor": "x"})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_cursor")
    assert seen == 7
    assert await effects(service) == [0, 2, 3, 4, 5, 6], "the oldest first"


async def test_operators_who_replay_all_at_once_have_its_effects_once(service: ServiceUnderTest, moods: Moods) -> None:
    await park(service, moods, *range(20))
    async with service.http(operator()) as http:
        answers = await asyncio.gather(*(http.post("/dead-letters/replay") for _ in range(4)))
        assert {answer.status_code for answer in answers} == {200}
        assert sum(answer.json()["delivered"] for answer in answers) == 20
    assert sorted(await effects(service)) == list(range(20))
    assert len(await service.published(LifeEventReported)) == 20


async def test_what_is_held_is_in_no_list_no_log_and_no_answer_but_the_letters_own(
    service: ServiceUnderTest, moods: Moods, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (letter,) = await park(service, moods, 7)
    path = f"/dead-letters/{letter['id']}"
    async with service.http(operator()) as http:
        answers = [
            await http.patch(path, json={"payload": json.dumps({"name": PERSONAL})}, headers={"If-Match": "*"}),
            await http.patch(path, json={"payload": PERSONAL}, headers={"If-Match": "*"}),
            await http.post("/dead-letters/edit", json={"payload_patch": {"address": PERSONAL}}),
            await http.post(f"{path}/replay"),
            await http.post("/dead-letters/replay"),
            await http.get("/dead-letters"),
            await http.get("/dead-letters/summary"),
        ]
        assert PERSONAL in (await http.get(path)).text
    for answer in answers:
        assert PERSONAL not in answer.text
    assert answers[1].status_code == 422
    out, err = capsys.readouterr()
    assert PERSONAL not in out + err + caplog.text


async def test_what_was_edited_away_is_forgotten_a_while_after_the_letter_is_gone(
    service: ServiceUnderTest, moods: Moods
) -> None:
    letters = await park(service, moods, 1, 2)
    async with service.http(operator()) as http:
        await http.post("/dead-letters/edit", json={"payload_patch": {"score": 9}})
        await http.post(f"/dead-letters/{letters[0]['id']}/replay")
    now = datetime.now(UTC)
    await forget_what_is_past(service.database, lambda: now + KEEP_EDITS - timedelta(hours=1))
    assert await service.count("dead_letter_edit") == 2
    await forget_what_is_past(service.database, lambda: now + KEEP_EDITS + timedelta(hours=1))
    assert await service.rows("select letter_id::text from dead_letter_edit") == [(letters[1]["id"],)]


# The examples of RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_patch_is_a_json_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merge(target, patch) == result


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(target=VALUES, patch=VALUES)
def test_a_patch_that_was_applied_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merge(target, patch)
    assert merge(once, patch) == once
