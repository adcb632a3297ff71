"""What each release said of its events, in the tree for ever: a clone without history or tags has it too.

`docs/releases/<version>/events.json` holds every event's topic, key, JSON Schema and golden example.
`docs/releases/SHA256SUMS` is what `sha256sum --check` reads: neither file changes once it is there.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from services.documents.events import CORE, event_schema
from services.documents.evolution import UnknownKeyword, breaks
from services.documents.golden import GoldenEvent, golden_events
from services.documents.line import to_json
from shared.events import EVENT_TYPES

RELEASES = Path(__file__).resolve().parents[2] / "docs" / "releases"
SUMS = "SHA256SUMS"
EVENTS = "events.json"


class Altered(Exception):
    """A recorded release is not what it was when it was recorded."""


class AlreadyRecorded(Exception):
    """A release is recorded once."""


class NotCompatible(Exception):
    """What is to be released breaks what was; `faults` tell where."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(f"{len(faults)} incompatible changes")
        self.faults = faults


@dataclass(frozen=True)
class RecordedEvent:
    topic: str
    key: str
    schema: Mapping[str, Any]
    golden: Mapping[str, Any]
    """The CloudEvent, in structured JSON."""


@dataclass(frozen=True)
class Release:
    version: str
    events: Mapping[str, RecordedEvent]


def current_events() -> dict[str, RecordedEvent]:
    return {name: _record(golden) for name, golden in golden_events().items()}


def _record(golden: GoldenEvent) -> RecordedEvent:
    schema = {name: part for name, part in event_schema(golden).items() if name != "examples"}
    return RecordedEvent(golden.event_type.TOPIC, golden.key, schema, golden.cloud_event)


def recorded_releases(folder: Path = RELEASES) -> list[Release]:
    """The oldest first. Raises Altered."""
    sums = _sums(folder)
    there = {path.relative_to(folder).as_posix() for path in folder.glob("*/*")}
    for name in sorted(there ^ sums.keys()):
        raise Altered(f"{name} is {'not in ' + SUMS if name in there else 'gone'}")
    for name, stated in sums.items():
        if sha256((folder / name).read_bytes()).hexdigest() != stated:
            raise Altered(f"{name} is not what was recorded")
    return sorted((_read(folder / name) for name in sums), key=lambda release: _ordered(release.version))


def _read(path: Path) -> Release:
    document = json.loads(path.read_text(encoding="utf-8"))
    events = {name: RecordedEvent(**event) for name, event in document["events"].items()}
    return Release(path.parent.name, events)


def _sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {name: stated for stated, name in (line.split("  ", 1) for line in lines)}


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def record_release(version: str, folder: Path = RELEASES) -> Path:
    """Writes what the events are now. Raises AlreadyRecorded, Altered, NotCompatible; ValueError for no version."""
    releases = recorded_releases(folder)
    if releases and _ordered(version) <= _ordered(releases[-1].version):
        raise AlreadyRecorded(f"{releases[-1].version} is recorded, and {version} does not come after it")
    events = current_events()
    if faults := [fault for release in releases for fault in incompatible(release, events)]:
        raise NotCompatible(faults)
    path = folder / ".".join(map(str, _ordered(version))) / EVENTS
    path.parent.mkdir(parents=True)
    text = to_json({"release": version, "events": {name: vars(event) for name, event in events.items()}})
    path.write_text(text, encoding="utf-8")
    with (folder / SUMS).open("a", encoding="utf-8") as sums:
        sums.write(f"{sha256(text.encode()).hexdigest()}  {path.relative_to(folder).as_posix()}\n")
    return path


def incompatible(release: Release, events: Mapping[str, RecordedEvent]) -> Iterator[str]:
    """What of `events` breaks whoever still is at the release, each in a line."""
    for name, old in release.events.items():
        for fault in _incompatible(name, old, events.get(name)):
            yield f"{name} (since {release.version}) {fault}"


def _incompatible(name: str, old: RecordedEvent, new: RecordedEvent | None) -> Iterator[str]:
    if new is None:
        yield "is gone"
        return
    for what, before, now in (("topic", old.topic, new.topic), ("key", old.key, new.key)):
        if before != now:
            yield f"{what} was {before}, is {now}"
    try:
        yield from map(str, breaks(old.schema, new.schema, also_forward=not name.startswith(f"{CORE}.")))
    except UnknownKeyword as fault:
        yield f"has in its schema what nobody has thought about yet: {fault}"
    yield from _edited(old.golden, new.golden)


def _edited(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """A golden example may only show more: the fields that were added."""
    for name, value in old.items():
        if name != "data" and new.get(name) != value:
            yield f"has another {name} in its golden example"
    if not _shows(new["data"], old["data"]):
        yield "has other data in its golden example, beyond added fields"


def _shows(new: Any, old: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return all(name in new and _shows(new[name], value) for name, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(_shows(later, item) for later, item in zip(new, old, strict=True))
    return type(old) is type(new) and bool(old == new)


def golden_of(release: Release) -> dict[str, GoldenEvent]:
    """The release's golden events, as today's code reads them."""
    return {
        name: GoldenEvent(EVENT_TYPES[name], dict(event.golden))
        for name, event in release.events.items()
        if name in EVENT_TYPES
    }
