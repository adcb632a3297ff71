"""Lines of NDJSON that are read by columns are the rows that they are one by one, and nothing else is read so."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from feeds.files.facts import Chunk, Fact, PostedColumns
from feeds.files.layout import Amounts, File, Format, Layout
from feeds.files.plain_objects import PlainObjects
from feeds.files.reading import chunks
from shared.events.corebanking import PartyRecorded, TransactionPosted
from tests.backfill.history import movements, rows_of

LAYOUT = Layout(source="core")
ROWS = rows_of(movements(1, 9, 300))


def read(path: Path, lines: Sequence[str], start: int = 0, size: int = 100) -> list[Chunk]:
    path.write_text("".join(f"{line}\n" for line in lines))
    return [*chunks(File(path, Format.NDJSON, TransactionPosted), LAYOUT, start, size)]


def items_of(read: Sequence[Chunk]) -> list[Any]:
    """An event is as it is encoded: of two that are equal, one might say True for 1."""
    items = [item for chunk in read for item in chunk.items]
    return [
        (item.line, item.event_id, item.occurred_at, item.event) if isinstance(item, Fact) else item for item in items
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "transactions.ndjson"


def one_by_one(path: Path, lines: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[Chunk]:
    with monkeypatch.context() as patched:
        patched.setattr(PlainObjects, "of", lambda *_: None)
        return read(path, lines)


WRITERS: list[Callable[[int, dict[str, Any]], str]] = [
    lambda _, row: json.dumps(row),
    lambda at, row: json.dumps(row, separators=(",", ":")) if at % 3 else json.dumps(row),
    lambda at, row: json.dumps({"note": 'Gr\xfc\xdfe, "x" ' * (at % 5), **row}, ensure_ascii=at % 2 == 0),
    lambda at, row: json.dumps(
        dict(sorted(row.items(), reverse=at % 2 == 0)) | {"of": {"a": [at]}} if at % 7 == 0 else row
    ),
    lambda at, row: json.dumps({**row, "balance_after_minor": None if at % 4 else at, "sequence": at}),
]


@pytest.mark.parametrize("write", WRITERS)
def test_plain_lines_are_what_they_are_one_by_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[int, dict[str, Any]], str]
) -> None:
    lines = [write(at, row) for at, row in enumerate(ROWS)]
    found = read(path, lines)
    assert all(type(chunk.items) is PostedColumns for chunk in found)
    assert [chunk.first for chunk in found] == [0, 100, 200]
    assert items_of(found) == items_of(one_by_one(path, lines, monkeypatch))
    assert items_of(read(path, lines, start=130)) == items_of(found)[130:]


@pytest.mark.parametrize(
    "odd",
    [
        {"account_id": "A/1"},
        {"account_id": ""},
        {"account_id": " A1"},
        {"account_id": "\xc41"},
        {"account_id": 17},
        {"transaction_id": "T\n1"},
        {"transaction_id": None},
        {"booked_on": "2025-02-30"},
        {"booked_on": "20250201"},
        {"sequence": -1},
        {"amount_minor": "12"},
        {"amount_minor": 12.5},
        {"amount_minor": 9007199254740993},
        {"currency": "eur"},
        {"currency": "EUR\n"},
        {"kind": "barter"},
        {"balance_after_minor": " 5"},
        {"counterparty_bank": ""},
        {"counterparty_bank": "BANK 2"},
        {"time": "2025-02-01T00:00:00Z"},
    ],
    ids=str,
)
def test_one_odd_value_leaves_its_lines_to_be_read_one_by_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any]
) -> None:
    rows = [{**row, **odd} if at == 140 else row for at, row in enumerate(ROWS)]
    found = read(path, [*map(json.dumps, rows)])
    assert [type(chunk.items) is PostedColumns for chunk in found] == [True, False, True]
    assert list(map(str, items_of(found))) == list(
        map(str, items_of(one_by_one(path, [*map(json.dumps, rows)], monkeypatch)))
    )


@pytest.mark.parametrize("line", ["", "  ", "[]", "{", "x" * 1_100_000, '{"a":"\udcff"}'])
def test_a_line_that_is_no_object_leaves_its_lines_to_be_read_one_by_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    lines = [*map(json.dumps, ROWS)]
    lines[140] = line
    path_of = path.with_suffix(".jsonl")
    path_of.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    found = [*chunks(File(path_of, Format.NDJSON, TransactionPosted), LAYOUT, 0, 100)]
    assert [type(chunk.items) is PostedColumns for chunk in found] == [True, False, True]
    assert sum(isinstance(item, Fact) for chunk in found for item in chunk.items) == len(ROWS) - 1


def test_bytes_that_are_no_text_are_found_in_what_is_passed_over(path: Path) -> None:
    lines = [json.dumps({"note": "ab", **row}).encode() for row in ROWS]
    lines[140] = lines[140].replace(b'"ab"', b'"a\xff"')
    path.write_bytes(b"\n".join(lines))
    found = [*chunks(File(path, Format.NDJSON, TransactionPosted), LAYOUT, 0, 100)]
    assert [type(chunk.items) is PostedColumns for chunk in found] == [True, False, True]
    assert not isinstance(found[1].items[40], Fact)


def test_a_time_is_found_whose_key_has_an_escape(path: Path) -> None:
    lines = [*map(json.dumps, ROWS)]
    lines[140] = lines[140].replace("{", '{"\\u0074ime":"2025-02-01T00:00:00Z",')
    found = read(path, lines)
    assert [type(chunk.items) is PostedColumns for chunk in found] == [True, False, True]
    assert isinstance(fact := found[1].items[40], Fact)
    assert fact.occurred_at is not None


def test_no_reader_is_made_for_what_it_does_not_read() -> None:
    assert PlainObjects.of(TransactionPosted, LAYOUT) is not None
    assert PlainObjects.of(PartyRecorded, LAYOUT) is None
    for other in (
        Layout(amounts=Amounts.MAJOR),
        Layout(debit=("a", "b")),
        Layout(dates="%Y%m%d"),
        Layout(columns={"kind": "code"}),
        Layout(constants={"currency": "EUR"}),
        Layout(values={"kind": {"a": "fee"}}),
    ):
        assert PlainObjects.of(TransactionPosted, other) is None
