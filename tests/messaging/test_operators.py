"""Operators see what could not be delivered, and why, and have it delivered; a list tells nothing of what it holds."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.catalog import SERVICES, compose
from shared.events import Delivery
from shared.events.corebanking import PartyRecorded
from shared.events.customer import LifeEventReported, SurveyReported
from shared.ids import new_id
from shared.messaging.dead_letters import Parked
from shared.messaging.dead_letters import park as parking
from shared.messaging.outbox import publish
from shared.messaging.records import Record
from shared.messaging.subscriptions import Subscriptions
from shared.service import Service
from shared.settings import PlatformSettings
from tests.conftest import NewDatabase
from tests.harness import ServiceUnderTest, head_office, manager, operator, program, under_test
from tests.messaging.line import life_event, note, survey


class Moods:
    """A handler that fails for these numbers, and publishes something for every other."""

    def __init__(self) -> None:
        self.failing: set[int] = set()

    async def tell(self, session: AsyncSession, deliveries: Sequence[Delivery[SurveyReported]]) -> None:
        await note(session, deliveries)
        for delivery in deliveries:
            publish(session, life_event(delivery.event.customer_id), cause=delivery)
        if self.failing & {delivery.event.score for delivery in deliveries}:
            raise RuntimeError


@pytest.fixture
def moods() -> Moods:
    return Moods()


@pytest.fixture
async def service(new_database: NewDatabase, moods: Moods) -> AsyncIterator[ServiceUnderTest]:
    subscriptions = Subscriptions("scoring")
    subscriptions.on(SurveyReported, moods.tell)
    composed = Service("scoring", "Test", "", [], subscriptions, None)
    async with under_test(composed, await new_database("scoring")) as running:
        async with running.database.jobs.begin() as connection:
            await connection.execute(
                text(
                    "create table effect (id bigint generated always as identity primary key, customer_id uuid,"
                    " number integer not null, partition integer not null)"
                )
            )
        yield running


async def park(service: ServiceUnderTest, moods: Moods, *numbers: int) -> list[dict[str, Any]]:
    """Parks a survey of each number; what an operator then sees of them, the oldest first."""
    moods.failing = set(numbers)
    await service.deliver([survey(number) for number in numbers], parked=len(numbers))
    moods.failing = set()
    async with service.http(operator()) as http:
        answer = await http.get("/dead-letters", params={"sort": "parked_at"})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def effects(service: ServiceUnderTest) -> list[int]:
    return [number for (number,) in await service.rows("select number from effect order by id")]


async def test_a_dead_letter_tells_what_it_is_and_why_and_a_list_not_what_it_holds(
    service: ServiceUnderTest, moods: Moods
) -> None:
    event = survey(1)
    moods.failing = {1}
    (event_id,) = await service.deliver([event], parked=1)
    async with service.http(operator()) as http:
        listed = await http.get("/dead-letters")
        (letter,) = listed.json()["items"]
        one = await http.get(f"/dead-letters/{letter['id']}")
        shown = one.json()
        assert {name: shown[name] for name in letter} == letter
        again = await http.get(f"/dead-letters/{letter['id']}", headers={"If-None-Match": one.headers["ETag"]})
        assert again.status_code == 304
    assert letter["code"] == "handler_failed"
    assert letter["detail"].startswith("RuntimeError in tell")
    assert letter["type"] == SurveyReported.TYPE
    assert letter["event_id"] == str(event_id)
    assert letter["replays"] == 0
    for held in (event.customer_id, event.survey_id):
        assert str(held) not in listed.text


@pytest.mark.parametrize("principal", [manager(), head_office(), program("corebanking:write")])
async def test_dead_letters_are_for_operators(service: ServiceUnderTest, moods: Moods, principal: Any) -> None:
    (letter,) = await park(service, moods, 1)
    async with service.http(principal) as http:
        one = f"/{letter['id']}"
        for method, path in (
            ("GET", ""),
            ("GET", "/summary"),
            ("GET", one),
            ("PATCH", one),
            ("POST", f"{one}/replay"),
            ("POST", "/replay"),
            ("POST", "/edit"),
        ):
            body = {"headers": {"x": "y"}} if path in ("/edit", one) and method != "GET" else None
            answer = await http.request(method, f"/dead-letters{path}", json=body, headers={"If-Match": "*"})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_dead_letters_are_listed_by_page_and_found_by_code_and_type(
    service: ServiceUnderTest, moods: Moods
) -> None:
    letters = await park(service, moods, *range(5))
    async with service.database.jobs.begin() as connection:
        await connection.execute(
            text("update dead_letter set code = 'malformed_event', type = 'other.v1' where id::text = any(:ids)"),
            {"ids": [letter["id"] for letter in letters[:2]]},
        )
    async with service.http(operator()) as http:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await http.get("/dead-letters", params={"limit": 2, **cursor})).json()
            seen += [item["id"] for item in page["items"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert sorted(seen) == sorted(letter["id"] for letter in letters)
        assert len(set(seen)) == 5

        async def found(**filters: str) -> int:
            return len((await http.get("/dead-letters", params=filters)).json()["items"])

        assert await found(code="malformed_event") == 2
        assert await found(code="handler_failed") == 3
        assert await found(type="other.v1") == 2
        assert await found(code="handler_failed", type="other.v1") == 0


async def test_a_replay_delivers_once_and_removes_the_letter(service: ServiceUnderTest, moods: Moods) -> None:
    letters = await park(service, moods, 7)
    async with service.http(operator()) as http:
        answers = [await http.post(f"/dead-letters/{letters[0]['id']}/replay") for _ in range(2)]
    assert answers[0].json() == {"outcome": "delivered", "dead_letter": None}
    assert (answers[1].status_code, answers[1].json()["code"]) == (404, "dead_letter_not_found")
    assert await effects(service) == [7]
    assert len(await service.published(LifeEventReported)) == 1
    assert await service.count("dead_letter") == 0


async def test_two_operators_who_replay_at_once_have_its_effects_once(service: ServiceUnderTest, moods: Moods) -> None:
    (letter,) = await park(service, moods, 7)
    async with service.http(operator()) as http:
        answers = await asyncio.gather(*(http.post(f"/dead-letters/{letter['id']}/replay") for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]
    assert await effects(service) == [7]


async def test_what_fails_again_stays_with_its_new_reason_and_leaves_no_trace(
    service: ServiceUnderTest, moods: Moods
) -> None:
    (letter,) = await park(service, moods, 7)
    async with service.database.jobs.begin() as connection:
        await connection.execute(text("update dead_letter set code = 'of_old', detail = 'of old'"))
    moods.failing = {7}
    async with service.http(operator()) as http:
        for replays in (1, 2):
            answer = await http.post(f"/dead-letters/{letter['id']}/replay")
            assert answer.status_code == 200
            assert answer.json()["outcome"] == "parked"
            now = answer.json()["dead_letter"]
            assert (now["code"], now["replays"]) == ("handler_failed", replays)
            assert now["replayed_at"] is not None
    assert await effects(service) == []
    assert await service.published(LifeEventReported) == []
    assert await service.count("dead_letter") == 1
    assert await service.count("delivered_event") == 0


async def test_a_letter_that_cannot_be_read_yet_is_delivered_by_the_version_that_can(
    service: ServiceUnderTest, moods: Moods
) -> None:
    (letter,) = await park(service, moods, 7)

    async def rename(type_name: str) -> None:
        async with service.database.jobs.begin() as connection:
            await connection.execute(
                text("update dead_letter set headers = jsonb_set(headers, '{ce_type}', to_jsonb(cast(:type as text)))"),
                {"type": type_name},
            )

    async with service.http(operator()) as http:
        await rename("customer.survey_reported.v9")
        answer = await http.post(f"/dead-letters/{letter['id']}/replay")
        assert answer.json()["dead_letter"]["code"] == "unknown_event_type"
        await rename(LifeEventReported.TYPE)
        answer = await http.post(f"/dead-letters/{letter['id']}/replay")
        assert answer.json()["dead_letter"]["code"] == "not_heard", "nothing may get lost for want of a handler"
        await rename(SurveyReported.TYPE)
        assert (await http.post(f"/dead-letters/{letter['id']}/replay")).json()["outcome"] == "delivered"
    assert await effects(service) == [7]


async def test_a_letter_whose_event_came_by_another_way_is_only_removed(
    service: ServiceUnderTest, moods: Moods
) -> None:
    """The relay had sent it twice, and the second was delivered."""
    event = survey(7)
    moods.failing = {7}
    (event_id,) = await service.deliver([event], parked=1)
    moods.failing = set()
    await service.deliver([event], ids=[event_id])
    (letter_id,) = (await service.rows("select id from dead_letter"))[0]
    async with service.http(operator()) as http:
        assert (await http.post(f"/dead-letters/{letter_id}/replay")).json()["outcome"] == "delivered"
    assert await effects(service) == [7]


async def test_an_unknown_letter_is_not_found(service: ServiceUnderTest) -> None:
    async with service.http(operator()) as http:
        for answer in (
            await http.get(f"/dead-letters/{new_id()}"),
            await http.post(f"/dead-letters/{new_id()}/replay"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "dead_letter_not_found")


async def test_what_acts_on_all_letters_is_no_letter_with_that_id(service: ServiceUnderTest) -> None:
    async with service.http(operator()) as http:
        for method, path, known in (("PATCH", "edit", "POST"), ("GET", "replay", "POST"), ("PATCH", "summary", "GET")):
            answer = await http.request(method, f"/dead-letters/{path}", headers={"If-Match": "*"}, json={})
            assert (answer.status_code, answer.headers["Allow"]) == (405, known), (method, path, answer.text)


@pytest.mark.parametrize("instant", ["0.5", "1764000000", "2026-11-24T00:00:00"])
async def test_an_instant_is_written_out_with_its_zone(service: ServiceUnderTest, instant: str) -> None:
    async with service.http(operator()) as http:
        for name in ("parked_from", "parked_until"):
            answer = await http.get("/dead-letters", params={name: instant})
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{name}"), answer.text


@pytest.mark.parametrize("name", SERVICES)
async def test_every_service_has_its_dead_letters(name: str, new_database: NewDatabase) -> None:
    async with (
        under_test(compose(name, PlatformSettings()), await new_database(name)) as running,
        running.http(operator()) as http,
    ):
        assert (await http.get("/dead-letters")).json() == {"items": [], "next": None}


async def test_a_record_of_the_core_that_is_parked_again_is_one_letter(new_database: NewDatabase) -> None:
    """Its handler parks by itself; the replay keeps the letter that was there."""
    async with under_test(compose("customer", PlatformSettings()), await new_database("customer")) as customer:
        party = PartyRecorded(party_id="P1", revision=1, customer_number="1", branch_id="B1")
        await customer.deliver([party], ids=[new_id()])
        async with customer.database.transaction() as session:
            record = Record("corebanking.events", 0, 99, None, b"no cloud event", ())
            await parking(session, [Parked(record, "of_old", "of old")])
        async with customer.http(operator()) as http:
            (letter,) = (await http.get("/dead-letters")).json()["items"]
            answer = await http.post(f"/dead-letters/{letter['id']}/replay")
        assert answer.json()["dead_letter"]["id"] == letter["id"]
        assert answer.json()["dead_letter"]["code"] == "malformed_cloud_event"
        assert await customer.count("dead_letter") == 1
