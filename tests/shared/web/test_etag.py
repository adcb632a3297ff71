from datetime import timedelta
from uuid import UUID

import httpx

from shared.web.etag import entity_tag
from tests.shared.web.notes import NOW, Notes


async def read_tag(client: httpx.AsyncClient, note_id: UUID) -> str:
    return str((await client.get(f"/notes/{note_id}")).headers["etag"])


async def test_what_has_not_changed_is_not_sent_again(notes: Notes) -> None:
    note_id = await notes.write()
    async with notes.http() as client:
        tag = await read_tag(client, note_id)
        for stated in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = await client.get(f"/notes/{note_id}", headers={"If-None-Match": stated})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
            assert "content-type" not in answer.headers
        for stated in ('"other"', tag.strip('"'), ""):
            assert (await client.get(f"/notes/{note_id}", headers={"If-None-Match": stated})).status_code == 200


async def test_what_has_a_tag_may_be_kept_and_nothing_else(notes: Notes) -> None:
    note_id = await notes.write()
    async with notes.http() as client:
        assert (await client.get(f"/notes/{note_id}")).headers["cache-control"] == "private, no-cache"
        assert (await client.get("/notes")).headers["cache-control"] == "no-store"


async def test_a_change_says_what_it_changes(notes: Notes) -> None:
    note_id = await notes.write()
    async with notes.http() as client:
        answer = await client.patch(f"/notes/{note_id}", json={"subject": "New"})
    assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required")


async def test_a_change_of_what_was_read_is_made_and_states_the_new_tag(notes: Notes) -> None:
    note_id = await notes.write()
    async with notes.http() as client:
        tag = await read_tag(client, note_id)
        answer = await client.patch(f"/notes/{note_id}", json={"subject": "New"}, headers={"If-Match": tag})
        assert answer.status_code == 200
        assert answer.headers["etag"] == await read_tag(client, note_id) != tag


async def test_a_change_of_what_has_changed_since_is_refused(notes: Notes) -> None:
    note_id = await notes.write()
    async with notes.http() as client:
        tag = await read_tag(client, note_id)
        await client.patch(f"/notes/{note_id}", json={"subject": "First"}, headers={"If-Match": tag})
        for stated in (tag, f"W/{await read_tag(client, note_id)}", '"other"', ""):
            answer = await client.patch(f"/notes/{note_id}", json={"subject": "Second"}, headers={"If-Match": stated})
            assert (answer.status_code, answer.json()["code"]) == (412, "stale_version")
        anything = await client.patch(f"/notes/{note_id}", json={"subject": "Third"}, headers={"If-Match": "*"})
    assert anything.status_code == 200
    assert await notes.rows("select subject from note") == [("Third",)]


def test_a_tag_tells_versions_and_instants_apart_to_the_microsecond() -> None:
    assert entity_tag(1) != entity_tag(2)
    assert entity_tag(NOW) != entity_tag(NOW + timedelta(microseconds=1))
