"""What is generated from the code and checked in says what the code says, on every machine."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from services.documents import REFERENCE, documents, write_documents

KINDS: dict[str, Callable[[Path], bool]] = {
    "openapi documents": lambda path: path.parts[0] == "openapi",
    "api reference": lambda path: path.name.startswith("api-"),
    "event schemas": lambda path: path.parts[0] == "schemas",
    "asyncapi document": lambda path: path.name == "asyncapi.json",
    "event reference": lambda path: path.name == "events.md",
    "settings": lambda path: path.name == "settings.md",
    "problems": lambda path: path.name == "problems.md",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_checked_in_is_what_the_code_says(kind: str, made: Mapping[Path, str]) -> None:
    of_kind = {path: text for path, text in made.items() if KINDS[kind](path)}
    assert of_kind
    there = {path.relative_to(REFERENCE) for path in REFERENCE.rglob("*") if path.is_file()}
    assert {path for path in there if KINDS[kind](path)} == of_kind.keys(), "`branchline docs` writes them"
    stale = [str(path) for path, text in of_kind.items() if (REFERENCE / path).read_text(encoding="utf-8") != text]
    assert not stale, "`branchline docs` writes them anew"


def test_every_document_is_of_a_kind_that_is_checked(made: Mapping[Path, str]) -> None:
    assert [path for path in made if not any(is_of_kind(path) for is_of_kind in KINDS.values())] == []


def test_documents_say_the_same_whatever_the_machine_sets(
    made: Mapping[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "BRANCHLINE_PUBLIC_URL": "https://branchline.bank.example",
        "branchline_partitions": "12",
        "CUSTOMER_INGESTION_TIMEOUT_SECONDS": "7",
        "SCORING_ALERT_THRESHOLD": "not a number",
    }.items():
        monkeypatch.setenv(name, value)
    assert documents() == made


def test_a_check_names_what_is_missing_changed_or_left_over_and_writes_nothing(tmp_path: Path) -> None:
    assert write_documents(check=True, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    write_documents(check=False, folder=tmp_path)
    assert write_documents(check=True, folder=tmp_path) == []
    (tmp_path / "events.md").write_text("something else", encoding="utf-8")
    (tmp_path / "problems.md").unlink()
    left_over = tmp_path / "schemas" / "customer.nothing_happened.v1.json"
    left_over.write_text("{}", encoding="utf-8")
    differing = sorted([tmp_path / "events.md", tmp_path / "problems.md", left_over])
    assert write_documents(check=True, folder=tmp_path) == differing
    assert left_over.exists()
    assert write_documents(check=False, folder=tmp_path) == differing
    assert write_documents(check=True, folder=tmp_path) == []
    assert not left_over.exists()
