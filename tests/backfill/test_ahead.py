"""What is read ahead: received by columns where that is of use, and as many blocks as one transaction takes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from feeds.files.facts import Chunk, PostedColumns
from feeds.files.layout import File, Format, Layout
from feeds.files.reading import chunks
from feeds.rows import FeedRefused
from services.backfill_parts import Ahead, Receiving
from services.customer.use_cases.transaction_columns import Transactions, joined
from shared.columns import Column
from shared.events.corebanking import TransactionPosted
from tests.backfill.history import movements, rows_of, table, write_csv

ROWS = 300
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def now() -> datetime:
    return NOW


def read(path: Path, size: int = ROWS) -> list[Chunk]:
    return [*chunks(File(path, Format.CSV, TransactionPosted), Layout(source="core"), 0, size)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "transactions.csv"
    write_csv(path, movements(1, 5, ROWS))
    return path


def ahead(most: int) -> Ahead:
    return Ahead("transactions.csv", Receiving("core", now), now, most)


def test_a_block_that_is_loaded_as_a_whole_is_received_ahead(path: Path) -> None:
    (part,) = ahead(ROWS).parts(iter(read(path)))
    assert part.arrivals is not None
    assert part.arrivals.transactions is not None
    assert len(part.arrivals.transactions) == len(part) == ROWS
    assert (part.first, part.end, part.share, list(part.arrivals.others)) == (0, ROWS, 1.0, [])


def test_one_that_is_loaded_in_parts_is_not(path: Path) -> None:
    (part,) = ahead(ROWS - 1).parts(iter(read(path)))
    assert part.arrivals is None
    assert [(half.first, half.end) for half in part.of_at_most(ROWS - 1)] == [(0, 150), (150, 300)]


def test_one_that_fails_is_left_to_who_looks_for_the_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    (chunk,) = read(path)
    monkeypatch.setattr(Receiving, "by_columns", fails)
    (part,) = ahead(ROWS).parts(iter([chunk]))
    assert (part.blocks[0].items, part.arrivals) == (chunk.items, None)


def test_of_nothing_is_nothing() -> None:
    assert [*ahead(ROWS).parts(iter([]))] == []


def test_as_many_blocks_are_one_part_as_one_transaction_takes(path: Path) -> None:
    parts = [*ahead(130).parts(iter(read(path, 50)))]
    assert [(part.first, part.end) for part in parts] == [(0, 100), (100, 200), (200, 300)]
    whole, both = ahead(ROWS).parts(iter(read(path))), ahead(ROWS).parts(iter(read(path, 70)))
    assert_alike(*((next(each).arrivals or pytest.fail("not received")).transactions for each in (whole, both)))


def assert_alike(one: Transactions | None, other: Transactions | None) -> None:
    assert one is not None
    assert other is not None
    for name in ("lines", "hashes", "event_hashes", "fingerprints"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
    for mine, yours in zip(one.facts, other.facts, strict=True):
        assert _said(mine) == _said(yours)
    assert [one.named.names[at] for at in one.named.of] == [other.named.names[at] for at in other.named.of]
    assert one.told.rows() == other.told.rows()
    for line in one.lines.tolist():
        assert one.receive_line(line).data == other.receive_line(line).data


def _said(column: Any) -> Any:
    if not isinstance(column, Column):
        return column.tolist()
    texts = [bytes(value) for value in np.asarray(column.values)]
    lengths = [len(text) for text in texts] if column.lengths is None else column.lengths.tolist()
    return [None if length < 0 else text[:length] for text, length in zip(texts, lengths, strict=True)]


@pytest.mark.parametrize("seed", [1, 2])
def test_blocks_of_other_widths_are_the_rows_that_they_are_together(tmp_path: Path, seed: int) -> None:
    dice = Random(seed)
    rows = rows_of(movements(seed, 9, ROWS))
    for number, row in enumerate(rows):
        row["account_id"] += "x" * dice.choice([0, number // 40])
        row["counterparty_bank"] = dice.choice(["", "", "BANK" + "Y" * (number // 30)]) if number > 100 else ""
    path = tmp_path / "transactions.csv"
    path.write_text(table(rows))
    receiving = Receiving("core", now)
    some = [receiving.by_columns(chunk.items, NOW).transactions for chunk in read(path, 41)]
    assert all(type(chunk.items) is PostedColumns for chunk in read(path, 41))
    (whole,) = read(path)
    assert_alike(receiving.by_columns(whole.items, NOW).transactions, joined([each for each in some if each]))


def test_rows_whose_events_are_named_otherwise_are_a_part_of_their_own(tmp_path: Path) -> None:
    rows = rows_of(movements(1, 5, ROWS))
    rows[120]["transaction_id"] = "T/120"
    path = tmp_path / "transactions.csv"
    path.write_text(table(rows))
    parts = [*ahead(ROWS).parts(iter(read(path, 50)))]
    assert [(part.first, part.end) for part in parts] == [(0, 100), (100, 150), (150, 300)]
    assert all(part.arrivals and part.arrivals.transactions for part in parts)


def test_what_lies_before_an_unreadable_block_is_loaded(path: Path) -> None:
    def broken() -> Iterator[Chunk]:
        yield from read(path, 50)[:2]
        raise FeedRefused("unreadable_file", "of which no more can be read")

    parts = ahead(ROWS).parts(broken())
    assert next(parts).end == 100
    with pytest.raises(FeedRefused):
        next(parts)
