"""Links of a small document: from what is created, listed and shown to what goes on from there, and nowhere else."""

from typing import Any

import pytest

from shared.web.links import add_links

CREATED, LISTED = "$response.body#/note_id", "$response.body#/items/0/note_id"
SHOWN, TAG = "$request.path.note_id", {"header.If-Match": "$response.header.ETag"}


def operation(name: str, *parameters: str, status: str = "200", shows: str = "", **more: Any) -> dict[str, Any]:
    """`parameters` as `path:note_id`; `shows` is the name of the answer's schema."""
    schema = {"$ref": f"#/components/schemas/{shows}"} if shows else {}
    split = [each.partition(":") for each in parameters]
    return {
        "operationId": name,
        "parameters": [{"in": place, "name": named} for place, _, named in split],
        "responses": {status: {"content": {"application/json": {"schema": schema}}}, "404": {}},
        **more,
    }


@pytest.fixture
def document() -> dict[str, Any]:
    note: dict[str, Any] = {"properties": {"note_id": {}, "text": {}}}
    page = {"properties": {"items": {"items": {"$ref": "#/components/schemas/Note"}}, "next": {}}}
    one = "/notes/{note_id}"
    return {
        "components": {"schemas": {"Note": note, "Page": page}},
        "paths": {
            "/notes": {
                "get": operation("list_notes", shows="Page"),
                "post": operation("write_note", status="201", shows="Note"),
            },
            one: {
                "get": operation("read_note", "path:note_id", "header:If-None-Match", shows="Note"),
                "patch": operation("edit_note", "path:note_id", "header:If-Match", shows="Note"),
            },
            f"{one}/copies": {"post": operation("copy_note", "path:note_id")},
            f"{one}/shares": {"post": operation("share_note", "path:note_id", status="201")},
            f"{one}/erasure": {
                "get": operation("read_erasure", "path:note_id"),
                "post": operation("erase_note", "path:note_id", status="202"),
            },
            "/drafts/{draft_id}": {
                "get": operation("read_draft", "path:draft_id"),
                "put": operation("keep_draft", "path:draft_id", "header:If-Match"),
            },
            "/authors/{author_id}": {"get": operation("read_author", "path:author_id")},
            "/public/{note_id}": {"get": operation("look_at_note", "path:note_id", security=[])},
        },
    }


def links_of(document: dict[str, Any], path: str, method: str = "get") -> dict[str, dict[str, str]]:
    """The parameters of each link of an operation's answers, by where it leads."""
    found = [
        (name, link)
        for response in document["paths"][path][method]["responses"].values()
        for name, link in response.get("links", {}).items()
    ]
    assert all(link["operationId"] == name for name, link in found)
    return {name: link["parameters"] for name, link in found}


def test_what_is_created_leads_to_all_that_its_id_names_but_a_change_that_asks_for_its_tag(
    document: dict[str, Any],
) -> None:
    add_links(document)
    named = {"path.note_id": CREATED}
    leading = ("copy_note", "erase_note", "read_erasure", "read_note", "share_note")
    assert links_of(document, "/notes", "post") == dict.fromkeys(leading, named)
    assert links_of(document, "/notes/{note_id}/erasure", "post") == {"read_erasure": {"path.note_id": SHOWN}}


def test_what_is_listed_leads_to_what_reads_an_item_or_acts_on_it_and_creates_nothing(
    document: dict[str, Any],
) -> None:
    add_links(document)
    named = {"path.note_id": LISTED}
    assert links_of(document, "/notes") == {"copy_note": named, "read_erasure": named, "read_note": named}


def test_what_is_shown_with_a_tag_leads_to_what_changes_it(document: dict[str, Any]) -> None:
    add_links(document)
    assert links_of(document, "/notes/{note_id}") == {"edit_note": {"path.note_id": SHOWN, **TAG}}
    assert links_of(document, "/notes/{note_id}", "patch") == {}
    assert links_of(document, "/drafts/{draft_id}") == {}, "it is shown without one"


def test_an_id_of_an_item_is_that_of_the_path_below_its_list(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Note"] = {"properties": {"id": {}}}
    add_links(document)
    assert links_of(document, "/notes")["read_note"] == {"path.note_id": "$response.body#/items/0/id"}
