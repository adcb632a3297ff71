"""Rows that are read by columns are the rows that they are one by one, and nothing else is read so."""

import csv
import io
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from feeds.files.columns import Columns
from feeds.files.facts import Fact, PostedColumns, PostedRows
from feeds.files.layout import Amounts, File, Format, Layout
from feeds.files.plain import PlainRows
from feeds.files.reading import chunks
from services.customer.use_cases.receiving import Received
from services.customer.use_cases.transaction_columns import Facts, transactions_of, transactions_of_facts
from shared.events.corebanking import TransactionPosted
from tests.backfill.history import movements, rows_of, table

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = rows_of(movements(1, 9, 300))
HEADER = next(csv.reader(table(ROWS).splitlines()))


def columns_of(layout: Layout | None = None, header: list[str] = HEADER) -> Columns:
    return Columns("t.csv", TransactionPosted, header, layout or Layout(source="core"))


def read_plain(written: str, layout: Layout | None = None, delimiter: str = ",") -> PostedColumns | None:
    """The text behind its header."""
    header, _, text = written.partition("\n")
    columns = columns_of(layout, header.rstrip("\r").split(","))
    plain = columns.plain_rows(delimiter)
    return plain.read(text, range(2, 2 + len(text.splitlines()))) if plain is not None else None


def facts(items: Any) -> list[tuple[int, str, TransactionPosted]]:
    assert all(isinstance(item, Fact) for item in items)
    return [(item.line, item.event_id, item.event) for item in items]


def read_each(
    written: str, layout: Layout | None = None, delimiter: str = ","
) -> list[tuple[int, str, TransactionPosted]]:
    (header,) = csv.reader(written.splitlines()[:1])
    rows = list(csv.reader(written.splitlines()[1:], delimiter=delimiter))
    return facts(list(columns_of(layout, header).read(rows, range(2, 2 + len(rows)))))


def test_plain_rows_are_what_they_are_one_by_one() -> None:
    written = table(ROWS)
    found = read_plain(written)
    assert found is not None
    assert facts(found) == read_each(written)
    assert facts(found[7:50:3]) == read_each(written)[7:50:3]
    assert read_plain(written.replace("\r\n", "\n").rstrip("\n")) is not None


def nobody_asks(line: int) -> Received:
    raise AssertionError(line)


def test_plain_rows_become_the_same_transactions_as_their_cells() -> None:
    """Also those whose day no bank can mean."""
    rows = [{**row, "booked_on": "1701-01-01"} if number % 9 == 4 else row for number, row in enumerate(ROWS)]
    found = read_plain(table(rows))
    assert found is not None
    by_cells = columns_of().read(list(csv.reader(table(rows).splitlines()))[1:], range(2, 2 + len(rows)))
    assert isinstance(by_cells, PostedRows)
    expected, wrong = transactions_of("core", by_cells.lines, None, by_cells.columns, NOW, nobody_asks)
    made, same = transactions_of_facts("core", found.lines, Facts(**found.columns._asdict()), NOW, nobody_asks)
    assert same == wrong == list(range(4, len(rows), 9))
    assert expected is not None
    assert made is not None
    for name in ("lines", "hashes", "fingerprints"):
        assert getattr(made, name).tolist() == getattr(expected, name).tolist(), name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("account_id", "A/1"),
        ("account_id", ""),
        ("account_id", " A1"),
        ("account_id", "Ä1"),
        ("account_id", "A" * 65),
        ("transaction_id", "T\x7f"),
        ("transaction_id", 'T"1'),
        ("transaction_id", "T\n1"),
        ("booked_on", "2025-02-30"),
        ("booked_on", ""),
        ("sequence", "-1"),
        ("sequence", "1.0"),
        ("amount_minor", ""),
        ("amount_minor", "12x"),
        ("amount_minor", "007"),
        ("amount_minor", "9007199254740993"),
        ("amount_minor", "12345678901234567890"),
        ("currency", "eur"),
        ("kind", "barter"),
        ("balance_after_minor", " 5"),
        ("counterparty_bank", "B" * 21),
        ("counterparty_bank", "BANK 2"),
    ],
)
def test_one_odd_cell_leaves_all_rows_to_be_read_one_by_one(field: str, value: str) -> None:
    rows = [dict(row) for row in ROWS]
    rows[random.Random(value).randrange(len(rows))][field] = value
    assert read_plain(table(rows)) is None
    assert read_plain(table(ROWS)) is not None


def test_rows_of_another_width_are_not_plain() -> None:
    lines = table(ROWS).replace("\r\n", "\n").splitlines(keepends=True)
    for odd in ("\n", "a,b\n", lines[5].rstrip("\n") + ",1\n", lines[5].replace("\n", "\r")):
        assert read_plain("".join([*lines[:5], odd, *lines[6:]])) is None
    cells = lines[5].rstrip("\n").split(",")
    moved = [lines[4].rstrip("\n") + "," + cells[0] + "\n", ",".join(cells[1:]) + "\n"]
    assert read_plain("".join([*lines[:4], *moved, *lines[6:]])) is None, "as many cells, in other rows"


def test_what_the_options_say_is_done() -> None:
    rows = [{**row, "booked_on": row["booked_on"].replace("-", ""), "kind": "X"} for row in ROWS]
    for row in rows:
        del row["currency"]
    layout = Layout(source="core", dates="%Y%m%d", values={"kind": {"X": "salary"}}, constants={"currency": "CNY"})
    found = read_plain(table(rows), layout)
    assert found is not None
    assert facts(found) == read_each(table(rows), layout)
    assert columns_of(Layout(source="core", values={"account_id": {}})).plain_rows(",") is None


CURRENCIES = {"EUR": 2, "JPY": 0, "BHD": 3, "CLF": 4}


def in_major_units(dice: random.Random, minor: Any, places: int) -> str:
    """As people write it: with all places, or without the zeros at their end."""
    if minor is None:
        return ""
    whole, behind = divmod(abs(minor), 10**places)
    written = f"{behind:0{places}d}" if places else ""
    if dice.random() < 0.2:
        written = written.rstrip("0")
    return f"{'-' * (minor < 0)}{whole}{'.' if written else ''}{written}"


@pytest.mark.parametrize("seed", range(4))
def test_amounts_in_major_units_are_what_they_are_one_by_one(seed: int) -> None:
    dice = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for row in ROWS:
        currency = dice.choice(list(CURRENCIES))
        minor = {
            "amount_minor": row["amount_minor"] * dice.choice([1, 1000]),
            "balance_after_minor": dice.choice([row.get("balance_after_minor"), None, 7]),
        }
        written = {name: in_major_units(dice, value, CURRENCIES[currency]) for name, value in minor.items()}
        rows.append({**row, "currency": currency, **written})
    layout = Layout(source="core", amounts=Amounts.MAJOR)
    found = read_plain(table(rows), layout)
    assert found is not None
    assert facts(found) == read_each(table(rows), layout)
    for row in rows:
        row["amount_minor"] = row["amount_minor"].replace(".", ",")
        row["balance_after_minor"] = row["balance_after_minor"].replace(".", ",")
    text = quoted(rows)
    layout = Layout(source="core", amounts=Amounts.MAJOR, decimal_mark=",")
    found = read_plain(text, layout)
    assert (found is None) == any("," in row["amount_minor"] for row in rows), "a comma in a cell is left to the others"
    found = read_plain(text.replace('","', '";"'), layout, ";")
    assert found is not None
    assert facts(found) == read_each(text.replace('","', '";"'), layout, ";")


@pytest.mark.parametrize("amounts", list(Amounts))
def test_debits_told_by_a_column_are_what_they_are_one_by_one(amounts: Amounts) -> None:
    rows = [
        {**row, "amount_minor": abs(row["amount_minor"]), "D/C": "D" if row["amount_minor"] < 0 else "C"}
        for row in ROWS
    ]
    layout = Layout(source="core", amounts=amounts, debit=("D/C", "D"))
    found = read_plain(table(rows), layout)
    assert found is not None
    assert facts(found) == read_each(table(rows), layout)
    assert {event.amount_minor < 0 for _, _, event in facts(found)} == {True, False}
    rows[7] = {**rows[7], "amount_minor": -5, "D/C": "D"}
    assert read_plain(table(rows), layout) is None, "it has a sign of its own"


@pytest.mark.parametrize(
    "written", ["1.005", "1.", ".5", "-.5", "--1.00", "+1.00", "01.00", "1,00", "1e2", "1.0x", "1.-5", "x", "-"]
)
def test_an_odd_amount_in_major_units_leaves_all_rows_to_be_read_one_by_one(written: str) -> None:
    layout = Layout(source="core", amounts=Amounts.MAJOR)
    rows = [dict(row) for row in ROWS]
    assert read_plain(table(rows), layout) is not None
    rows[11]["amount_minor"] = written
    assert read_plain(quoted(rows), layout) is None


def quoted(rows: list[dict[str, Any]]) -> str:
    written = io.StringIO()
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(written, columns, quoting=csv.QUOTE_ALL, lineterminator="\n")
    written.write(",".join(columns) + "\n")
    writer.writerows(rows)
    return written.getvalue()


def test_quoted_cells_are_what_they_are_one_by_one() -> None:
    found = read_plain(quoted(ROWS))
    assert found is not None
    assert facts(found) == read_each(quoted(ROWS)) == read_each(table(ROWS))
    rows = [{**row, "note": "a" if number % 3 else ""} for number, row in enumerate(ROWS)]
    some = quoted(rows).replace('"a"', "a").replace('"",', ",")
    found = read_plain(some)
    assert found is not None
    assert facts(found) == read_each(some)


@pytest.mark.parametrize("cell", ['"a,b"', '"a""b"', '"a\nb"', 'a"b"', '"a"b', '"', '"a', 'a"', '","', '""""', ' "a"'])
def test_a_quote_that_is_not_around_a_whole_cell_is_read_by_the_others(cell: str) -> None:
    rows = [{**row, "note": "x"} for row in ROWS]
    written = quoted(rows)
    assert read_plain(written) is not None
    lines = written.splitlines(keepends=True)
    lines[40] = lines[40].replace('"x"', cell)
    assert read_plain("".join(lines)) is None


def test_a_cell_has_no_escapes() -> None:
    rows = [{**row, "currency": "\\u0045UR"} for row in ROWS]
    assert read_plain(table(rows)) is None
    layout = Layout(source="core", debit=("note", "D"))
    rows = [{**row, "amount_minor": 5, "note": "\\u0044"} for row in ROWS]
    assert read_plain(table(rows), layout) is None


def test_a_file_with_odd_rows_among_plain_ones_is_read_in_its_order(tmp_path: Path) -> None:
    lines = table(ROWS).replace("\r\n", "\n").splitlines(keepends=True)
    quoted = lines[120].replace("T0000119", '"T\nodd"')
    assert quoted != lines[120]
    path = tmp_path / "transactions.csv"
    path.write_text("".join([*lines[:120], quoted, *lines[120:]]))
    read = [*chunks(File(path, Format.CSV, TransactionPosted), Layout(source="core"), 0, 50)]
    kinds = {chunk.first: type(chunk.items) is PostedColumns for chunk in read}
    assert [first for first, plain in kinds.items() if not plain] == [100]
    items = [item for chunk in read for item in chunk.items]
    assert [chunk.first for chunk in read] == list(range(0, 301, 50))
    assert [item.line for item in items if item] == [*range(2, 122), *range(123, 304)][:301]
    events = [item.event for item in items if isinstance(item, Fact)]
    assert [*events[:119], *events[120:]] == movements(1, 9, 300)
    resumed = [*chunks(File(path, Format.CSV, TransactionPosted), Layout(source="core"), 130, 50)]
    assert [item for chunk in resumed for item in map(str, facts(chunk.items))] == [*map(str, facts(items[130:]))]


def test_no_reader_is_made_for_what_it_does_not_read() -> None:
    assert PlainRows.of("¦", 9, {name: at for at, name in enumerate(HEADER)}, {}, Layout()) is None
