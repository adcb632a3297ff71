"""What was released stays readable and true: every recorded release is held against what the code says now."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from typer.testing import CliRunner

from services.cli import app
from services.documents import releases
from services.documents.releases import (
    RELEASES,
    AlreadyRecorded,
    Altered,
    NotCompatible,
    RecordedEvent,
    Release,
    current_events,
    golden_of,
    incompatible,
    record_release,
    recorded_releases,
)
from shared.events import EVENT_TYPES, decode, encode
from shared.messaging.records import read_event
from tests.contracts.instances import instances

RECORDED = recorded_releases()
NOW = current_events()
RELEASED = [
    pytest.param(release, name, id=f"{release.version}-{name}") for release in RECORDED for name in release.events
]


def test_the_first_release_is_recorded_and_none_is_altered() -> None:
    assert [release.version for release in recorded_releases()][:1] == ["0.1.0"]


@pytest.mark.parametrize("release", RECORDED, ids=lambda release: release.version)
def test_events_are_compatible_with_every_release(release: Release) -> None:
    assert list(incompatible(release, NOW)) == []


@pytest.mark.parametrize(("release", "name"), RELEASED)
def test_a_released_golden_event_is_read_as_it_was_meant(release: Release, name: str) -> None:
    golden = golden_of(release)[name]
    assert json.loads(encode(read_event(golden.record).event)) == golden.cloud_event["data"]


@pytest.mark.parametrize(("release", "name"), RELEASED)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_a_release_could_write_is_read_now(release: Release, name: str, data: st.DataObject) -> None:
    written = data.draw(instances(release.events[name].schema))
    decode(EVENT_TYPES[name], msgspec.json.encode(written))


@pytest.mark.parametrize(("release", "name"), [each for each in RELEASED if "corebanking" not in str(each.id)])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_whatever_is_written_now_a_release_could_read(release: Release, name: str, data: st.DataObject) -> None:
    written = data.draw(instances(current_events_once()[name].schema))
    OAS31Validator(release.events[name].schema).validate(written)


def current_events_once(_kept: list[dict[str, RecordedEvent]] = []) -> dict[str, RecordedEvent]:  # noqa: B006
    if not _kept:
        _kept.append(current_events())
    return _kept[0]


SCORE = "customer.survey_reported.v1"


def without_the_event(events: dict[str, Any]) -> None:
    del events[SCORE]


def on_another_topic(events: dict[str, Any]) -> None:
    events[SCORE]["topic"] = "customer.surveys"


def with_another_key(events: dict[str, Any]) -> None:
    events[SCORE]["key"] = "`survey_id`"


def with_a_required_field(events: dict[str, Any]) -> None:
    events[SCORE]["schema"]["properties"]["asked_by"] = {"type": "string"}
    events[SCORE]["schema"]["required"].append("asked_by")


def with_a_narrower_field(events: dict[str, Any]) -> None:
    events[SCORE]["schema"]["properties"]["score"]["maximum"] = 9


def with_a_closed_schema(events: dict[str, Any]) -> None:
    events[SCORE]["schema"]["additionalProperties"] = False


def with_an_edited_example(events: dict[str, Any]) -> None:
    events[SCORE]["golden"]["data"]["score"] = 1


def with_an_example_that_shows_less(events: dict[str, Any]) -> None:
    del events[SCORE]["golden"]["data"]["score"]


def with_an_example_of_another_instant(events: dict[str, Any]) -> None:
    events[SCORE]["golden"]["time"] = "2020-01-01T00:00:00Z"


CHANGES: dict[Callable[[dict[str, Any]], None], str] = {
    without_the_event: "is gone",
    on_another_topic: "topic was customer.events, is customer.surveys",
    with_another_key: "key was `customer_id`, is `survey_id`",
    with_a_required_field: "/asked_by: was absent, is required",
    with_a_narrower_field: "/score: maximum was none, is 9",
    with_a_closed_schema: "what nobody has thought about yet: additionalProperties",
    with_an_edited_example: "has other data in its golden example",
    with_an_example_that_shows_less: "has other data in its golden example",
    with_an_example_of_another_instant: "has another time in its golden example",
}


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[dict[str, Any]], None]], None]:
    """Makes the events other than they are."""

    def apply(edit: Callable[[dict[str, Any]], None]) -> None:
        events = json.loads(json.dumps({name: vars(event) for name, event in NOW.items()}))
        edit(events)
        changed = {name: RecordedEvent(**event) for name, event in events.items()}
        monkeypatch.setattr(releases, "current_events", lambda: changed)

    return apply


@pytest.mark.parametrize("edit", CHANGES, ids=lambda edit: str(edit.__name__))
def test_what_breaks_a_release_is_named_and_not_released(
    edit: Callable[[dict[str, Any]], None], change: Callable[..., None], tmp_path: Path
) -> None:
    folder = Path(copytree(RELEASES, tmp_path / "releases"))
    change(edit)
    with pytest.raises(NotCompatible) as refusal:
        record_release("99.0.0", folder)
    assert [fault for fault in refusal.value.faults if fault.startswith(f"{SCORE} (since 0.1.0) ")]
    assert CHANGES[edit] in refusal.value.faults[0]
    assert not (folder / "99.0.0").exists()


def test_an_event_and_an_optional_field_may_be_added(change: Callable[..., None], tmp_path: Path) -> None:
    def add(events: dict[str, Any]) -> None:
        events[SCORE]["schema"]["properties"]["asked_by"] = {"type": "string", "default": ""}
        events[SCORE]["golden"]["data"]["asked_by"] = "E-17"
        events[SCORE.replace("v1", "v2")] = events[SCORE]

    folder = Path(copytree(RELEASES, tmp_path / "releases"))
    change(add)
    record_release("99.0.0", folder)
    assert recorded_releases(folder)[-1].version == "99.0.0"
    assert (folder / "99.0.0" / "events.json").exists()


def test_later_releases_are_held_to_every_one_before(change: Callable[..., None], tmp_path: Path) -> None:
    """The field that 99.0.0 added must stay, though 0.1.0 knows nothing of it."""
    folder = Path(copytree(RELEASES, tmp_path / "releases"))

    def add(events: dict[str, Any]) -> None:
        events[SCORE]["schema"]["properties"]["asked_by"] = {"type": "string", "default": ""}

    change(add)
    record_release("99.0.0", folder)
    change(lambda events: None)
    with pytest.raises(NotCompatible) as refusal:
        record_release("100.0.0", folder)
    assert len(refusal.value.faults) == 1
    assert f"{SCORE} (since 99.0.0) /asked_by: is gone" in refusal.value.faults[0]


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9"])
def test_a_release_is_recorded_once_and_in_order(version: str) -> None:
    with pytest.raises(AlreadyRecorded):
        record_release(version)


@pytest.mark.parametrize("version", ["", "1.x", "../0.2.0", "v1"])
def test_what_is_no_version_is_not_recorded(version: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        record_release(version, tmp_path)
    assert list(tmp_path.iterdir()) == []


def edit_it(folder: Path) -> None:
    path = folder / "0.1.0" / "events.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"band": "high"', '"band": "low"', 1), encoding="utf-8")


def remove_it(folder: Path) -> None:
    (folder / "0.1.0" / "events.json").unlink()


def forget_its_sum(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text("", encoding="utf-8")


def slip_one_in(folder: Path) -> None:
    (folder / "0.0.1").mkdir()
    (folder / "0.0.1" / "events.json").write_text('{"events": {}}', encoding="utf-8")


@pytest.mark.parametrize("alter", [edit_it, remove_it, forget_its_sum, slip_one_in])
def test_a_release_that_was_altered_is_seen(alter: Callable[[Path], None], tmp_path: Path) -> None:
    folder = Path(copytree(RELEASES, tmp_path / "releases"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    alter(folder)
    assert before != {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(Altered):
        recorded_releases(folder)


def test_a_release_is_recorded_at_a_terminal_or_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
) -> None:
    folder = Path(copytree(RELEASES, tmp_path / "releases"))
    monkeypatch.setattr(releases.record_release, "__defaults__", (folder,))
    monkeypatch.setattr(releases.recorded_releases, "__defaults__", (folder,))

    def said(*arguments: str) -> tuple[int, list[str]]:
        result = CliRunner().invoke(app, ["record-release", *arguments])
        return result.exit_code, result.output.splitlines()

    assert said("1.x") == (1, ["branchline: '1.x' is no version such as 0.2.0."])
    assert said("0.1.0") == (1, ["branchline: 0.1.0 is recorded, and 0.1.0 does not come after it"])
    change(without_the_event)
    code, lines = said("99.0.0")
    assert (code, lines[0]) == (1, f"{SCORE} (since 0.1.0) is gone")
    change(lambda events: None)
    assert said("99.0.0") == (0, [f"written: {folder / '99.0.0' / 'events.json'}"])
    edit_it(folder)
    assert said("100.0.0") == (1, ["branchline: 0.1.0/events.json is not what was recorded"])
