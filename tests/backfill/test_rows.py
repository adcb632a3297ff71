"""Rows as data teams write them, also wrong ones: each is an event, or told of by its line, and never stops another."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from feeds.files.amounts import minor_units
from feeds.files.facts import Fact, Item, Misfit, PostedRows, id_of
from feeds.files.layout import Amounts, File, Format, Layout, found_files
from feeds.files.reading import chunks
from feeds.rows import FeedRefused, RowFault
from shared.events.corebanking import (
    AccountRecorded,
    CoreBankingEvent,
    ManagerRecorded,
    PartyRecorded,
    TransactionPosted,
    TransactionReversed,
)

HEADER = "account_id,transaction_id,booked_on,sequence,amount_minor,currency,kind"


def read(
    path: Path,
    content: str | bytes,
    layout: Layout | None = None,
    event_type: type[CoreBankingEvent] = TransactionPosted,
    start: int = 0,
    size: int = 3,
) -> list[Item | None]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    file = File(path, Format.CSV if path.suffix == ".csv" else Format.NDJSON, event_type)
    return [item for chunk in chunks(file, layout or Layout(source="core"), start, size) for item in chunk.items]


def posted(items: Sequence[Item | None]) -> list[TransactionPosted]:
    events = [item.event for item in items if isinstance(item, Fact)]
    assert len(events) == len(items), items
    return [event for event in events if isinstance(event, TransactionPosted)]


def row(number: int, **more: str) -> str:
    cells = {"account_id": "A1", "transaction_id": f"T{number}", "booked_on": "2025-01-01", "sequence": str(number)}
    cells |= {"amount_minor": "-5", "currency": "CNY", "kind": "fee", **more}
    return ",".join(cells.values())


def test_each_wrong_row_is_told_by_its_line_and_the_others_are_read(tmp_path: Path) -> None:
    content = "\n".join(
        [
            HEADER,
            row(1),
            "A1,T2",
            "",
            row(4, transaction_id='"T4\nis on two lines"'),
            row(6, amount_minor="ten"),
            row(7, transaction_id=" "),
            row(8, booked_on="2025-02-30"),
            row(9, kind="barter"),
            row(10, account_id=""),
            row(11),
        ]
    )
    items = read(tmp_path / "t.csv", content)
    assert [item and (type(item).__name__, item.line) for item in items] == [
        ("Fact", 2),
        ("RowFault", 3),
        None,
        ("Fact", 5),
        ("Misfit", 7),
        ("RowFault", 8),
        ("Misfit", 9),
        ("Misfit", 10),
        ("RowFault", 11),
        ("Fact", 12),
    ]
    assert [item.code for item in items if isinstance(item, RowFault)] == [
        "malformed_row",
        "missing_identity",
        "missing_identity",
    ]
    for size in (1, 2, 100):
        for start in range(len(items)):
            again = read(tmp_path / "t.csv", content, start=start, size=size)
            assert [item and item.line for item in again] == [item and item.line for item in items[start:]]


def test_rows_that_are_all_right_stay_columns_and_are_the_same_facts(tmp_path: Path) -> None:
    rows = [row(1), row(2, transaction_id="T/2", sequence=""), row(3, booked_on="2025-02-28", kind="salary")]
    (tmp_path / "t.csv").write_text("\n".join([HEADER, *rows]))
    file = File(tmp_path / "t.csv", Format.CSV, TransactionPosted)
    (chunk,) = chunks(file, Layout(source="core"), 0, 100)
    assert isinstance(chunk.items, PostedRows)
    by_rows = read(tmp_path / "t.csv", "\n".join([HEADER, *rows, row(4, kind="barter")]), size=100)
    facts = [(each.line, each.event_id, each.event) for each in by_rows if isinstance(each, Fact)]
    assert [(each.line, each.event_id, each.event) for each in chunk.items if isinstance(each, Fact)] == facts
    assert chunk.items.event_ids == [event_id for _, event_id, _ in facts]
    assert [each and each.line for each in chunk.items[1:]] == [3, 4]


def test_an_open_quote_takes_no_more_than_a_field_may_hold(tmp_path: Path) -> None:
    rows = [row(number) for number in range(1, 20_001)]
    rows[9] = row(10, transaction_id='"T10')
    items = read(tmp_path / "t.csv", "\n".join([HEADER, *rows]), size=1_000)
    faults = [item for item in items if isinstance(item, RowFault)]
    assert (faults[0].line, faults[0].code) == (11, "malformed_row")
    last = int(faults[0].detail.rpartition("line ")[2].rstrip(")"))
    facts = [item for item in items if isinstance(item, Fact)]
    assert [fact.line for fact in facts] == [*range(2, 11), *range(last + 1, 20_002)]
    assert last < 5_000


def test_bytes_that_the_encoding_does_not_have_are_told_of_and_cost_one_row(tmp_path: Path) -> None:
    content = f"{HEADER}\n{row(1)}\n{row(2, account_id='Ä2')}\n{row(3)}".encode("latin-1")
    items = read(tmp_path / "t.csv", content)
    assert [type(item).__name__ for item in items] == ["Fact", "RowFault", "Fact"]
    assert isinstance(items[1], RowFault)
    assert (items[1].line, items[1].code) == (3, "undecodable_text")
    assert len(posted(read(tmp_path / "t.csv", content, Layout(source="core", encoding="latin-1")))) == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "shift-jis"])
def test_any_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    content = f"{HEADER}\r\n{row(1, account_id='山本')}\r\n".encode(encoding)
    (event,) = posted(read(tmp_path / "t.csv", content, Layout(source="core", encoding=encoding.removesuffix("-sig"))))
    assert event.account_id == "山本"
    named = {"account_id": "山本", "transaction_id": "T1", "booked_on": "2025-01-01", "amount_minor": 1}
    line = json.dumps({**named, "currency": "JPY", "kind": "fee"}, ensure_ascii=False)
    layout = Layout(source="core", encoding=encoding.removesuffix("-sig"))
    assert posted(read(tmp_path / "t.ndjson", line.encode(encoding), layout))[0].account_id == "山本"


def test_headers_are_found_whatever_their_case_and_blanks(tmp_path: Path) -> None:
    header = ' Account ID , "transaction-id",BOOKED ON,Sequence,Amount Minor,Currency, Kind ,,'
    (event,) = posted(read(tmp_path / "t.csv", f"{header}\n{row(1)},,\n".replace(', "', ',"')))
    assert (event.transaction_id, event.sequence) == ("T1", 1)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("a;b;c\n1;2;3", "missing_column"),
        (f"{HEADER},Account ID\n", "double_column"),
        (HEADER.removesuffix(",kind") + "\n", "missing_column"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused_before_anything_is_loaded(
    tmp_path: Path, content: str, code: str
) -> None:
    with pytest.raises(FeedRefused) as refused:
        read(tmp_path / "t.csv", content)
    assert refused.value.code == code


def test_one_column_may_be_two_fields_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    columns = {"party_id": "no", "customer_number": "no", "branch_id": "Branch"}
    layout = Layout(source="core", columns=columns, constants={"revision": "1"})
    (fact,) = read(tmp_path / "p.csv", "NO,branch,name\n7,B1,Ann", layout, PartyRecorded)
    assert isinstance(fact, Fact)
    assert fact.event == PartyRecorded(party_id="7", customer_number="7", branch_id="B1", name="Ann", revision=1)
    with pytest.raises(FeedRefused, match="no column Branch"):
        read(tmp_path / "p.csv", "NO,name\n7,Ann", layout, PartyRecorded)


def test_a_value_that_all_rows_have_and_defaults_need_no_column(tmp_path: Path) -> None:
    content = "account_id,transaction_id,booked_on,amount_minor,kind,sequence\nA1,T1,2025-01-01,7,fee,"
    layout = Layout(source="core", constants={"currency": "CNY"})
    (event,) = posted(read(tmp_path / "t.csv", content, layout))
    assert (event.currency, event.sequence) == ("CNY", 0)
    content = "manager_id,branch_id,name,email,is_active\nM1,B1,Max,m@b.example,\nM2,B1,Mia,n@b.example,false"
    layout = Layout(source="core", constants={"revision": "3"})
    items = read(tmp_path / "m.csv", content, layout, ManagerRecorded)
    managers = [item.event for item in items if isinstance(item, Fact) and isinstance(item.event, ManagerRecorded)]
    assert [(manager.revision, manager.is_active) for manager in managers] == [(3, True), (3, False)]


def test_an_account_names_its_parties_by_relation(tmp_path: Path) -> None:
    content = "account_id,kind,currency,opened_on,holder,joint_holder,proxy\nA1,loan,CNY,2025-01-01,P1,P2|P3,"
    items = read(tmp_path / "a.csv", content, Layout(source="core", constants={"revision": "1"}), AccountRecorded)
    (fact,) = items
    assert isinstance(fact, Fact)
    assert isinstance(fact.event, AccountRecorded)
    related = [(party.party_id, party.relation) for party in fact.event.parties]
    assert related == [("P1", "holder"), ("P2", "joint_holder"), ("P3", "joint_holder")]


def test_a_misfit_holds_what_could_be_read_so_that_its_fault_is_found(tmp_path: Path) -> None:
    (item,) = read(tmp_path / "t.csv", f"{HEADER}\n{row(1, kind='barter')}")
    assert isinstance(item, Misfit)
    assert b'"sequence":1' in item.data
    assert b'"barter"' in item.data


@pytest.mark.parametrize(
    ("written", "places", "mark", "units"),
    [
        ("12.34", 2, ".", 1_234),
        ("-12.3", 2, ".", -1_230),
        ("+12", 2, ".", 1_200),
        ("12,34", 2, ",", 1_234),
        (".5", 2, ".", 50),
        ("1.5e3", 2, ".", 150_000),
        ("12.340", 2, ".", 1_234),
        ("12.345", 2, ".", None),
        ("1,234.56", 2, ".", None),
        ("1.234,56", 2, ",", None),
        ("1.500", 2, ",", None),
        ("1_000", 2, ".", None),
        ("１２", 2, ".", None),
        ("nan", 2, ".", None),
        ("inf", 2, ".", None),
        ("1e999999999", 2, ".", None),
        ("", 2, ".", None),
        ("500", 0, ".", 500),
        ("500.0", 0, ".", 500),
        ("500.5", 0, ".", None),
        ("1.234", 3, ".", 1_234),
        (12.3, 2, ".", 1_230),
        (0.1 + 0.2, 2, ".", None),
        (7, 2, ".", 700),
        (True, 2, ".", None),
    ],
)
def test_amounts_are_exact_or_refused(written: object, places: int, mark: str, units: int | None) -> None:
    assert minor_units(written, places, mark) == units


def test_each_currency_has_its_own_minor_unit(tmp_path: Path) -> None:
    rows = [row(1, amount_minor="-5", currency="JPY"), row(2, amount_minor="1.5", currency="KWD"), row(3)]
    items = read(tmp_path / "t.csv", "\n".join([HEADER, *rows]), Layout(source="core", amounts=Amounts.MAJOR))
    assert [event.amount_minor for event in posted(items)] == [-5, 1_500, -500]


def test_the_minor_unit_is_that_of_the_currency_which_the_banks_name_for_it_means(tmp_path: Path) -> None:
    rows = [row(1, amount_minor="500", currency="円"), row(2, amount_minor="500", currency="元")]
    currencies = {"currency": {"円": "JPY", "元": "CNY"}}
    layout = Layout(source="core", amounts=Amounts.MAJOR, values=currencies)
    events = posted(read(tmp_path / "t.csv", "\n".join([HEADER, *rows]), layout))
    assert [(event.amount_minor, event.currency) for event in events] == [(500, "JPY"), (50_000, "CNY")]
    without = Layout(source="core", amounts=Amounts.MAJOR, values=currencies, constants={"currency": "円"})
    content = "account_id,transaction_id,booked_on,amount,kind\nA1,T1,2025-01-01,500,fee"
    assert posted(read(tmp_path / "t.csv", content, without))[0].amount_minor == 500


def objects(path: Path, *rows: dict[str, Any], event_type: type[CoreBankingEvent], layout: Layout) -> list[Item | None]:
    return read(path / "t.ndjson", "\n".join(map(json.dumps, rows)), layout, event_type)


def test_an_object_where_a_value_should_be_is_wrong_and_stops_nothing(tmp_path: Path) -> None:
    right: dict[str, Any] = {"account_id": "A1", "transaction_id": "T1", "booked_on": "2025-01-01"}
    right |= {"amount": 5, "currency": "CNY", "kind": "fee"}
    layout = Layout(source="core", amounts=Amounts.MAJOR, values={"kind": {"FEE": "fee"}})
    for name in right:
        for value in ([1], {"of": 1}, True):
            bad, good = objects(tmp_path, {**right, name: value}, right, event_type=TransactionPosted, layout=layout)
            assert isinstance(bad, Misfit), (name, value, bad)
            assert isinstance(good, Fact)


def test_objects_and_typed_columns_are_read_as_text_is(tmp_path: Path) -> None:
    layout = Layout(source="core", amounts=Amounts.MAJOR, debit=("is_debit", "true"))
    named = {"account_id": 7, "transaction_id": 1, "booked_on": "2025-01-01", "currency": "JPY", "kind": "fee"}
    rows = [
        {**named, "amount": 500, "is_debit": is_debit, "time": "2025-01-01T09:00:00Z"} for is_debit in (True, False)
    ]
    facts = objects(tmp_path, *rows, event_type=TransactionPosted, layout=layout)
    assert [event.amount_minor for event in posted(facts)] == [-500, 500]
    assert [(fact.event_id, fact.occurred_at) for fact in facts if isinstance(fact, Fact)] == [
        ("corebanking.transaction_posted.v1:7/1", datetime(2025, 1, 1, 9, tzinfo=UTC))
    ] * 2
    reversed_ = {**named, "reverses_transaction_id": 2, "balance_after": 500}
    (fact,) = objects(tmp_path, reversed_, event_type=TransactionReversed, layout=layout)
    assert isinstance(fact, Fact)
    assert isinstance(fact.event, TransactionReversed)
    assert fact.event.balance_after_minor == 500, "the yen has no smaller unit, though the event names no currency"
    opened = {"account_id": 7, "revision": 1, "kind": "loan", "currency": "JPY", "opened_on": "2025-01-01"}
    (fact,) = objects(tmp_path, {**opened, "holder": 3, "proxy": "4|5"}, event_type=AccountRecorded, layout=layout)
    assert isinstance(fact, Fact)
    assert isinstance(fact.event, AccountRecorded)
    assert [party.party_id for party in fact.event.parties] == ["3", "4", "5"]


@pytest.mark.parametrize("amounts", Amounts)
def test_an_amount_with_a_sign_of_its_own_is_refused_where_a_column_tells_debits(
    tmp_path: Path, amounts: Amounts
) -> None:
    rows = [f"{row(1, amount_minor='5')},D", f"{row(2, amount_minor='5')},C", f"{row(3, amount_minor='-5')},D"]
    layout = Layout(source="core", amounts=amounts, debit=("dc", "D"))
    debit, credit, twice = read(tmp_path / "t.csv", "\n".join([f"{HEADER},dc", *rows]), layout)
    one = 5 if amounts is Amounts.MINOR else 500
    assert [event.amount_minor for event in posted([debit, credit])] == [-one, one]
    assert isinstance(twice, Misfit)
    with pytest.raises(FeedRefused, match="more than one column dc"):
        read(tmp_path / "t.csv", f"{HEADER},dc,DC\n", layout)


def test_ids_tell_facts_apart_however_they_are_called() -> None:
    ids = {id_of("t", "a/b", "c"), id_of("t", "a", "b/c"), id_of("t", "a", "b"), id_of("t", "a/b"), id_of("t", "ab")}
    assert len(ids) == 5
    assert max(len(id_of("t", "字" * 64, "/" * 64)), len(id_of("t", "x" * 64, "y" * 64, "z" * 64))) < 150 + 2


def test_a_folder_is_loaded_in_an_order_in_which_what_is_named_comes_first(tmp_path: Path) -> None:
    names = ["transactions-2.csv", "transactions-1.parquet", "Accounts.tsv", "party_recorded.ndjson", "branches.csv.gz"]
    for name in [*names, "README.md"]:
        (tmp_path / name).touch()
    found = found_files([str(tmp_path)], Layout(source="core"))
    assert [file.path.name for file in found][:4] == [
        "branches.csv.gz",
        "Accounts.tsv",
        "transactions-1.parquet",
        "transactions-2.csv",
    ]
    assert [file.event_type for file in found][4:] == [None], "lines of NDJSON say themselves what they are"
    with pytest.raises(FeedRefused, match="no pattern of some"):
        found_files([str(tmp_path / "*.xml")], Layout())


def test_days_are_read_as_they_are_written(tmp_path: Path) -> None:
    content = f"{HEADER}\n{row(1, booked_on='20250131')}\n{row(2, booked_on='31.01.2025')}"
    right, wrong = read(tmp_path / "t.csv", content, Layout(source="core", dates="%Y%m%d"))
    assert isinstance(right, Fact)
    assert isinstance(right.event, TransactionPosted)
    assert right.event.booked_on == date(2025, 1, 31)
    assert isinstance(wrong, Misfit)
