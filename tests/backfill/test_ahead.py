"""The next chunk is received by columns while the last is written, where that is of use."""

from pathlib import Path
from typing import Any, cast

import pytest

from feeds.files.facts import Chunk
from feeds.files.layout import File, Format, Layout
from feeds.files.reading import chunks
from services.backfilling import Terms, Watcher, _Loading
from services.customer.use_cases.ingestion import Rules
from services.customer.use_cases.receiving import Remembered
from shared.database import Database
from shared.events.corebanking import TransactionPosted
from tests.backfill.history import movements, write_csv

ROWS = 300


@pytest.fixture
def chunk(tmp_path: Path) -> Chunk:
    path = tmp_path / "transactions.csv"
    write_csv(path, movements(1, 5, ROWS))
    return next(chunks(File(path, Format.CSV, TransactionPosted), Layout(source="core"), 0, 100_000))


def loading(rows: int) -> _Loading:
    terms = Terms(Rules(partitions=4, tolerance_minor=0), rows=rows)
    nobody: Any = None
    file = File(Path("transactions.csv"), Format.CSV, TransactionPosted)
    return _Loading(
        cast("Database", nobody),
        file,
        Layout(source="core"),
        terms,
        cast("Watcher", nobody),
        Remembered(distrusted=0),
    )


def test_a_chunk_that_is_loaded_as_a_whole_is_received_ahead(chunk: Chunk) -> None:
    read = loading(ROWS)._next(iter([chunk]))
    assert read is not None
    part, share = read
    assert part.received is not None
    assert sum(map(len, part.received.transactions)) == len(chunk.items) == ROWS
    assert (part.first, part.end, share, list(part.received.others)) == (0, ROWS, 1.0, [])


def test_one_that_is_loaded_in_parts_is_not(chunk: Chunk) -> None:
    read = loading(ROWS - 1)._next(iter([chunk]))
    assert read is not None
    assert read[0].received is None


def test_one_that_fails_is_left_to_who_looks_for_the_row(chunk: Chunk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(_Loading, "_by_columns", fails)
    read = loading(ROWS)._next(iter([chunk]))
    assert read is not None
    assert (read[0].items, read[0].received) == (chunk.items, None)


def test_behind_the_last_is_none() -> None:
    assert loading(ROWS)._next(iter([])) is None
