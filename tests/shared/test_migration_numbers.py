"""The check of migrations tells two that collide apart, before any database is made."""

from pathlib import Path

import pytest

from services.catalog import SERVICES
from services.migration_check import fault_of_numbers
from shared.migrations import ROOT

FIRST = ("0001_first.py", "0001", None)


def written(folder: Path, *versions: tuple[str, str, str | None]) -> Path:
    for name, revision, follows in versions:
        stated = f'"{follows}"' if follows else "None"
        (folder / name).write_text(f'revision = "{revision}"\ndown_revision: str | None = {stated}\n')
    return folder


@pytest.mark.parametrize("service", SERVICES)
def test_the_migrations_of_a_service_follow_one_another(service: str) -> None:
    assert fault_of_numbers(ROOT / "services" / service / "migrations" / "versions") is None


def test_migrations_in_order_are_right(tmp_path: Path) -> None:
    assert fault_of_numbers(written(tmp_path, FIRST, ("0002_second.py", "0002", "0001"))) is None


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (
            [("0002_mine.py", "0002", "0001"), ("0002_theirs.py", "0002", "0001")],
            "0002_mine.py and 0002_theirs.py share a number: the one that landed last takes the next free one",
        ),
        (
            [("0002_mine.py", "0002", "0001"), ("0003_theirs.py", "0003", "0001")],
            "0003_theirs.py follows 0001 and not 0002, the one before it",
        ),
        ([("0002_mine.py", "0003", "0001")], "0002_mine.py says that it is 0003"),
        ([("0002_mine.py", "0002", None)], "0002_mine.py follows None and not 0001, the one before it"),
        (
            [("mine.py", "0002", "0001")],
            "mine.py is not NNNN_what.py with a revision and a down_revision of four digits",
        ),
    ],
)
def test_migrations_that_collide_are_told_by_name(
    tmp_path: Path, second: list[tuple[str, str, str | None]], told: str
) -> None:
    assert fault_of_numbers(written(tmp_path, FIRST, *second)) == told
