"""The Berka feed on files that are not as they should be."""

import gzip
import re
from datetime import date
from pathlib import Path

import pytest

from feeds import berka
from feeds.rows import FeedRefused, RowFault
from shared.events.corebanking import AccountRecorded, PartyRecorded, TransactionPosted

FILES = {
    "district": 'A1;A2\n1;"Praha"\n',
    "client": '"client_id";"birth_number";"district_id"\n1;"706213";1\n2;"450204";1\n',
    "disp": '"disp_id";"client_id";"account_id";"type"\n1;1;7;"OWNER"\n2;2;7;"DISPONENT"\n',
    "account": '"account_id";"district_id";"frequency";"date"\n7;1;"POPLATEK MESICNE";930105\n',
    "trans": (
        '"trans_id";"account_id";"date";"type";"operation";"amount";"balance";"k_symbol";"bank";"account"\n'
        '30;7;930107;"PRIJEM";"";5.10;"905.10";"UROK";;\n'
        '10;7;930107;"PRIJEM";"VKLAD";1000.00;1000.00;"";;\n'
        '20;7;930107;"VYBER";"VYBER";100.00;900.00;" ";;\n'
        '40;7;930108;"VYDAJ";"PREVOD NA UCET";400.10;505.00;"SIPO";"YZ";123\n'
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / f"{name}.asc").write_text(text)
    return tmp_path


def read(folder: Path) -> tuple[berka.Files, list[RowFault]]:
    faults: list[RowFault] = []
    return berka.read(folder, faults.append), faults


def posted(files: berka.Files) -> list[TransactionPosted]:
    return [fact.event for fact in berka.events(files) if isinstance(fact.event, TransactionPosted)]


def append(folder: Path, name: str, row: str) -> None:
    with (folder / f"{name}.asc").open("a") as file:
        file.write(row + "\n")


def test_within_a_day_the_chain_of_balances_is_the_order(folder: Path) -> None:
    files, faults = read(folder)
    assert faults == []
    assert [(e.transaction_id, e.sequence) for e in posted(files)] == [("10", 1), ("20", 2), ("30", 3), ("40", 1)]


def test_a_gap_in_the_balances_starts_the_chain_again(folder: Path) -> None:
    text = FILES["trans"].replace('20;7;930107;"VYBER";"VYBER";100.00;900.00;" ";;\n', "")
    (folder / "trans.asc").write_text(text)
    files, faults = read(folder)
    assert faults == []
    assert [(e.transaction_id, e.sequence) for e in posted(files)] == [("10", 1), ("30", 2), ("40", 1)]


def test_gzipped_files_read_like_plain_ones(folder: Path) -> None:
    plain = list(berka.lines(read(folder)[0]))
    for name, text in FILES.items():
        (folder / f"{name}.asc").unlink()
        (folder / f"{name}.asc.gz").write_bytes(gzip.compress(text.encode()))
    assert list(berka.lines(read(folder)[0])) == plain


def test_files_out_of_order_give_the_same_days(folder: Path) -> None:
    header, *those = FILES["trans"].splitlines()
    (folder / "trans.asc").write_text("\n".join([header, *reversed(those)]))
    assert [e.booked_on for e in posted(read(folder)[0])] == [date(1993, 1, 7)] * 3 + [date(1993, 1, 8)]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / f"{name}.asc").unlink()
    with pytest.raises(FeedRefused, match=f"no {name} file") as refused:
        read(folder)
    assert refused.value.code == "missing_file"


def test_a_missing_column_is_refused_by_name(folder: Path) -> None:
    (folder / "trans.asc").write_text(FILES["trans"].replace('"balance";', ""))
    with pytest.raises(FeedRefused, match=r"trans\.asc has no column balance") as refused:
        read(folder)
    assert refused.value.code == "missing_column"


def test_a_file_cut_off_in_its_compression_is_refused_with_the_last_good_line(folder: Path) -> None:
    (folder / "trans.asc").unlink()
    (folder / "trans.asc.gz").write_bytes(gzip.compress(FILES["trans"].encode())[:-9])
    with pytest.raises(FeedRefused, match=r"trans\.asc\.gz after line \d") as refused:
        read(folder)
    assert refused.value.code == "unreadable_file"


@pytest.mark.parametrize(
    ("name", "row", "code"),
    [
        ("trans", '50;7;930109;"PRIJEM"', "malformed_row"),
        ("trans", '50;7;930109;"PRIJEM";"VKLAD";12,50;517.50;"";;', "malformed_amount"),
        ("trans", '50;7;930109;"PRIJEM";"VKLAD";1.505;506.50;"";;', "malformed_amount"),
        ("trans", '50;7;930231;"PRIJEM";"VKLAD";1.00;506.00;"";;', "malformed_date"),
        ("trans", '50;7;1993-01-09;"PRIJEM";"VKLAD";1.00;506.00;"";;', "malformed_date"),
        ("trans", '50;7;930109;"STORNO";"VKLAD";1.00;506.00;"";;', "unknown_transaction_type"),
        ("trans", ';7;930109;"PRIJEM";"VKLAD";1.00;506.00;"";;', "missing_value"),
        ("client", '3;"709913";1', "malformed_date"),
        ("disp", '3;2;7;"GUARDIAN"', "unknown_disposition"),
        ("account", '8;1;"POPLATEK MESICNE";930105', "account_without_one_owner"),
    ],
)
def test_a_bad_row_is_reported_by_file_line_and_code_and_the_others_are_fed(
    folder: Path, name: str, row: str, code: str
) -> None:
    good = list(berka.events(read(folder)[0]))
    line = len(FILES[name].splitlines()) + 1
    append(folder, name, row)
    files, faults = read(folder)
    assert [(fault.file, fault.line, fault.code) for fault in faults] == [(f"{name}.asc", line, code)]
    assert str(faults[0]).startswith(f"{name}.asc, line {line}: {code}: ")
    assert list(berka.events(files)) == good


def test_a_report_about_a_row_holds_no_value_of_it(folder: Path) -> None:
    append(folder, "client", '3;"991399";1')
    append(folder, "trans", '50;7;930109;"PRIJEM";"VKLAD";x77123;506.00;"";;')
    _, faults = read(folder)
    assert len(faults) == 2
    assert not any("991399" in str(fault) or "77123" in str(fault) for fault in faults)


def test_an_unknown_purpose_and_means_of_payment_is_other(folder: Path) -> None:
    append(folder, "trans", '50;7;930109;"VYDAJ";"SEK";5.00;500.00;"";;')
    files, faults = read(folder)
    assert faults == []
    assert posted(files)[-1].kind == "other"
    assert posted(files)[-1].amount_minor == -500


def test_a_transaction_may_name_an_account_that_no_file_has(folder: Path) -> None:
    append(folder, "trans", '50;99;930109;"PRIJEM";"VKLAD";5.00;5.00;"";;')
    files, faults = read(folder)
    assert faults == []
    assert posted(files)[-1].account_id == "99"


def test_who_opens_after_until_is_not_yet_known(folder: Path) -> None:
    append(folder, "client", '3;"600101";1')
    append(folder, "disp", '3;3;8;"OWNER"')
    append(folder, "account", '8;1;"POPLATEK MESICNE";930109')
    files, _ = read(folder)
    told = [fact.event for fact in berka.events(files, until=date(1993, 1, 8))]
    assert [e.party_id for e in told if isinstance(e, PartyRecorded)] == ["1", "2"]
    assert [e.account_id for e in told if isinstance(e, AccountRecorded)] == ["7"]


def test_a_folder_without_transactions_has_no_last_day(folder: Path) -> None:
    (folder / "trans.asc").write_text(FILES["trans"].splitlines()[0])
    files, _ = read(folder)
    with pytest.raises(FeedRefused) as refused:
        _ = files.last_transaction_on
    assert refused.value.code == "no_transactions"


def test_the_documented_kinds_are_the_ones_that_are_mapped() -> None:
    page = (Path(__file__).parents[2] / "docs" / "feeds.md").read_text(encoding="utf-8")
    kinds = page.partition("### Kinds")[2].partition("### Order")[0]
    documented = dict(re.findall(r"^\| ([A-Z][A-Z .]+) \| .* \| `(\w+)` \|$", kinds, re.MULTILINE))
    assert documented == {**berka.KINDS_BY_SYMBOL, **berka.KINDS_BY_OPERATION}
