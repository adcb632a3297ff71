"""Whatever a history is written in, it becomes what the same events become live: in any order, some of them twice."""

import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb
import msgspec
import pytest

from feeds.files.facts import IDENTITY, Chunk, Fact, Misfit, PostedColumns, types_without_identity
from feeds.files.layout import File, Format, Layout
from feeds.files.reading import chunks
from feeds.files.text import zstd_module
from feeds.rows import FeedRefused
from shared.database import Database
from shared.events import decode
from shared.events.corebanking import CoreBankingEvent, TransactionPosted
from tests.backfill.conftest import Live
from tests.backfill.history import as_csv, movements, reversals, run, state, static, table, write_csv, write_folder
from tests.bank import lines

CUSTOMERS, COUNT = 20, 1_200
Write = Callable[[Path, Sequence[TransactionPosted]], list[str | Path]]


def plain(folder: Path, posted: Sequence[TransactionPosted]) -> list[str | Path]:
    return [write_csv(folder / "transactions.csv", posted)]


def gzipped(folder: Path, posted: Sequence[TransactionPosted]) -> list[str | Path]:
    return [write_csv(folder / "transactions.csv.gz", posted)]


def zstandard(folder: Path, posted: Sequence[TransactionPosted]) -> list[str | Path]:
    path = folder / "transactions.csv.zst"
    path.write_bytes(zstd_module().compress(as_csv(posted).encode()))
    return [path]


def in_two_files(folder: Path, posted: Sequence[TransactionPosted]) -> list[str | Path]:
    write_csv(folder / "transactions-1.csv", posted[: COUNT // 2])
    write_csv(folder / "transactions-2.csv", posted[COUNT // 2 :])
    return [f"{folder}/transactions-*.csv"]


def chinese(folder: Path, posted: Sequence[TransactionPosted]) -> list[str | Path]:
    """As a core writes it: its own names for columns and kinds, major units, days without dashes, debits told apart."""
    header = ["账号", "流水号", " 交易日期 ", "序号", "金额", "借贷", "币种", "类型", "余额", "对方行", "备注"]
    rows = [",".join(header)]
    for each in posted:
        units = f"{abs(each.amount_minor) // 100}.{abs(each.amount_minor) % 100:02d}"
        after = each.balance_after_minor
        cells: list[object] = [each.account_id, each.transaction_id, f"{each.booked_on:%Y%m%d}", each.sequence, units]
        cells += ["借" if each.amount_minor < 0 else "贷", each.currency, f"类{each.kind}"]
        cells += ["" if after is None else after / 100, each.counterparty_bank or "  ", "无"]
        rows.append(",".join(map(str, cells)))
    path = folder / "流水.csv"
    path.write_bytes("\n".join(rows).encode("gb18030"))
    fields = ["account_id", "transaction_id", "booked_on", "sequence", "amount_minor", ""]
    fields += ["currency", "kind", "balance_after_minor", "counterparty_bank", ""]
    mapped = [f"--map={column.strip()}={field}" for column, field in zip(header, fields, strict=True) if field]
    kinds = [f"--value=kind:类{kind}={kind}" for kind in {each.kind for each in posted}]
    options = ["--type=transaction_posted", "--encoding=gb18030", "--amounts=major", "--dates=%Y%m%d"]
    return [path, *options, "--debit-when=借贷=借", *mapped, *kinds]


def european(folder: Path, posted: Sequence[TransactionPosted]) -> list[str | Path]:
    """Semicolons, decimal commas, a byte order mark, no header."""
    rows = []
    for each in posted:
        after = each.balance_after_minor
        amounts = [
            "" if minor is None else f"{minor / 100:.2f}".replace(".", ",") for minor in (each.amount_minor, after)
        ]
        cells = [each.account_id, each.transaction_id, f"{each.booked_on:%d.%m.%Y}", each.sequence, *amounts, each.kind]
        rows.append(";".join(map(str, [*cells, each.counterparty_bank or ""])))
    path = folder / "transactions.txt"
    path.write_text("\r\n".join(rows), encoding="utf-8-sig")
    header = "account_id,transaction_id,booked_on,sequence,amount,balance_after,kind,counterparty_bank"
    return [
        *(path, f"--header={header}", "--delimiter=;", "--dates=%d.%m.%Y", "--set=currency=CNY"),
        *("--amounts=major", "--decimal-mark=,"),
    ]


def objects(folder: Path, posted: Sequence[TransactionPosted]) -> list[str | Path]:
    path = folder / "history.ndjson"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, posted)))
    return [path, "--type=transaction_posted"]


def cloud_events(folder: Path, posted: Sequence[TransactionPosted]) -> list[str | Path]:
    path = folder / "history.jsonl"
    path.write_bytes(b"\n".join(lines(posted, ids="history").split(b"\n")))
    return [path]


def parquet(folder: Path, posted: Sequence[TransactionPosted]) -> list[str | Path]:
    """Typed columns: dates, decimals, nulls."""
    path = folder / "transactions.parquet"
    source = write_csv(folder / "source.csv", posted)
    with duckdb.connect() as connection:
        connection.execute(
            "copy (select account_id, transaction_id, booked_on, sequence, currency, kind, counterparty_bank,"
            " cast(amount_minor as decimal(18, 2)) / 100 as amount,"
            " cast(cast(balance_after_minor as decimal(18, 2)) / 100 as decimal(18, 2)) as balance_after"
            f" from read_csv('{source}')) to '{path}' (format parquet, row_group_size 500)"
        )
    return [path, "--amounts=major"]


WRITERS = [plain, gzipped, zstandard, in_two_files, chinese, european, objects, cloud_events, parquet]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
async def test_a_history_becomes_what_the_same_events_become_live(
    write: Write, database: Database, live: Live, tmp_path: Path
) -> None:
    posted = movements(7, CUSTOMERS, COUNT)
    summary = run(database, *write(tmp_path, posted), "--source=core", "--rows=500")
    assert (summary["read"], summary["held"], summary["parked"]) == (COUNT, COUNT, 0), summary
    write_folder(tmp_path / "bank", CUSTOMERS, reversals(posted, 40))
    (tmp_path / "bank" / "transactions.csv").unlink()
    summary = run(database, tmp_path / "bank", "--source=core")
    assert (summary["parked"], summary["still_held"]) == (0, 0), summary

    events: list[CoreBankingEvent] = [*static(CUSTOMERS), *posted, *reversals(posted, 40)]
    events += random.Random(3).sample(events, len(events) // 20)
    random.Random(5).shuffle(events)
    assert await state(database) == await live(events)


def test_every_field_of_every_type_comes_through_a_column(tmp_path: Path) -> None:
    """Rows written from the types' golden events are the golden events again."""
    assert types_without_identity() == set()
    for event_type in IDENTITY:
        golden = Path(f"tests/contracts/golden/{event_type.TYPE}.json").read_bytes()
        event = decode(event_type, msgspec.Raw(msgspec.json.encode(msgspec.json.decode(golden)["data"])))
        path = tmp_path / f"{event_type.TYPE}.csv"
        row = msgspec.to_builtins(event)
        if "parties" in row:
            row["parties"] = msgspec.json.encode(row["parties"]).decode()
        path.write_text(table([row]))
        (chunk,) = chunks(File(path, Format.CSV, event_type), Layout(source="core"), 0, 10)
        (fact,) = chunk.items
        assert isinstance(fact, Fact), fact
        assert fact.event == event


async def test_a_history_that_comes_again_as_something_else_is_all_duplicates(
    database: Database, tmp_path: Path
) -> None:
    posted = movements(2, 3, 50)
    write_folder(tmp_path / "bank", 3, posted)
    first = run(database, tmp_path / "bank", "--source=core")
    assert (first["applied"], first["duplicate"]) == (50 + 2 + 2 * 3, 0)
    for write in (parquet, objects):
        again = run(database, *write(tmp_path, posted), "--source=core")
        assert (again["applied"], again["duplicate"], again["parked"]) == (0, 50, 0)


def typed(folder: Path, name: str, columns: str, options: str = "", rows: int = 300) -> File:
    """Of CSV rows, a Parquet file whose columns are these expressions."""
    source = write_csv(folder / "typed.csv", movements(3, 9, rows))
    with duckdb.connect() as connection:
        connection.execute(
            f"copy (select {columns} from read_csv('{source}', all_varchar=true)) to '{folder}/"
            + name.replace("'", "''")
            + "'"
            f" (format parquet{options})"
        )
    return File(folder / name, Format.PARQUET, TransactionPosted)


PLAIN = "account_id, transaction_id, booked_on, sequence, amount_minor, currency, kind, balance_after_minor"
TYPED = (
    "account_id, transaction_id, cast(booked_on as date) as booked_on, cast(sequence as bigint) as sequence,"
    " cast(amount_minor as {}) as amount_minor, currency, kind, [1] as passed_over, counterparty_bank"
)


@pytest.mark.parametrize("kind", ["varchar", "bigint", "decimal(18, 0)"])
def test_parquet_is_read_by_columns_as_it_is_row_by_row(tmp_path: Path, kind: str) -> None:
    file = typed(tmp_path, "it's a [name].parquet", TYPED.format(kind))
    columns = [*chunks(file, Layout(source="core"), 7, 50)]
    assert all(type(chunk.items) is PostedColumns for chunk in columns)
    by_rows = typed(tmp_path, "rows.parquet", TYPED.format("double"))  # whose text is not enough
    rows = [*chunks(by_rows, Layout(source="core"), 7, 50)]
    assert not any(type(chunk.items) is PostedColumns for chunk in rows)
    assert [(chunk.first, chunk.share) for chunk in columns] == [(chunk.first, chunk.share) for chunk in rows]
    assert said(columns) == said(rows)
    assert [line for line, *_ in said(columns)] == [*range(8, 301)]


def said(read: Sequence[Chunk]) -> list[tuple[object, ...]]:
    items = [item for chunk in read for item in chunk.items]
    return [msgspec.structs.astuple(item) if isinstance(item, Fact) else (item,) for item in items]


def test_an_odd_row_of_parquet_is_told_by_its_number_whatever_is_in_it(tmp_path: Path) -> None:
    odd = "case when sequence = '40' then e'T\n\n4,\"0' else transaction_id end as transaction_id"
    columns = PLAIN.replace("transaction_id", odd).replace(
        "amount_minor", "if(sequence = '41', 'x', amount_minor) as amount_minor"
    )
    file = typed(tmp_path, "odd.parquet", columns)
    items = [item for chunk in chunks(file, Layout(source="core"), 0, 60) for item in chunk.items]
    lines = {item.line: item for item in items if item is not None}
    assert sorted(lines) == [*range(1, 301)]
    (at,) = [line for line, item in lines.items() if isinstance(item, Misfit)]
    named = lines[at - 1]
    assert isinstance(named, Fact)
    assert isinstance(named.event, TransactionPosted)
    assert named.event.transaction_id == 'T\n\n4,"0'


def test_of_a_parquet_file_that_is_damaged_nothing_is_read_that_is_not_whole(tmp_path: Path) -> None:
    file = typed(tmp_path, "damaged.parquet", PLAIN, ", row_group_size 2048, compression zstd", rows=9_000)
    content = bytearray(file.path.read_bytes())
    at = len(content) * 2 // 3
    content[at : at + 2_000] = bytes(2_000)
    file.path.write_bytes(content)
    reading = chunks(file, Layout(source="core"), 0, 100)
    whole: list[Chunk] = []
    with pytest.raises(FeedRefused, match="after row"):
        whole.extend(reading)
    events = [item.event for chunk in whole for item in chunk.items if isinstance(item, Fact)]
    assert events == movements(3, 9, 9_000)[: len(events)]


def test_who_stops_reading_parquet_ends_it(tmp_path: Path) -> None:
    reading = chunks(typed(tmp_path, "long.parquet", PLAIN, rows=20_000), Layout(source="core"), 0, 10)
    assert len(next(reading).items) == 10
    reading.close()  # type: ignore[attr-defined] # a generator
    assert not [thread for thread in threading.enumerate() if thread.name == "parquet"]
