"""The documents that are generated from the code and checked in, in docs/reference."""

from collections.abc import Iterator
from pathlib import Path

from services.documents import apis, events, problems, settings
from services.documents.line import compose_line

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def documents() -> dict[Path, str]:
    """Every document's text, by its path below docs/reference."""
    return dict(_documents())


def _documents() -> Iterator[tuple[Path, str]]:
    line = compose_line()
    yield from apis.documents(line)
    yield from events.documents(line)
    yield from settings.documents(line)
    yield from problems.documents(line)


def write_documents(*, check: bool, folder: Path = REFERENCE) -> list[Path]:
    """Writes what differs from the code, removes what nothing makes any more, and returns those paths.

    With `check` nothing is written. A path in the checkout is given from its root on.
    """
    made = {folder / path: text for path, text in documents().items()}
    there = {path for path in folder.rglob("*") if path.is_file()}
    stale = [path for path, text in made.items() if path not in there or path.read_text(encoding="utf-8") != text]
    orphans = sorted(there - made.keys())
    if not check:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made[path], encoding="utf-8")
        for path in orphans:
            path.unlink()
    return [path.relative_to(ROOT) if path.is_relative_to(ROOT) else path for path in sorted([*stale, *orphans])]
