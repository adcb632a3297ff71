"""Parquet, read by DuckDB: streamed by row groups, with bounded memory."""

import csv
import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from threading import Thread
from typing import IO, TYPE_CHECKING

from feeds.files.columns import Columns
from feeds.files.facts import Chunk, Item, in_place
from feeds.files.layout import File, Layout
from feeds.files.plain import PlainRows
from feeds.files.text import TextLines, taken
from feeds.rows import FeedRefused, RowFault
from shared.events.corebanking import CoreBankingEvent

if TYPE_CHECKING:  # it is not in every image
    from duckdb import DuckDBPyConnection

MEMORY = "512MB"
"""The most that DuckDB takes for itself; a row group of a million rows of events fits."""
SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    # One thread: the rows come in the file's order, which a position counts by. Nothing is fetched from anywhere.
    "threads": "1",
    "memory_limit": MEMORY,
    "preserve_insertion_order": "true",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
_AS_TEXT = re.compile(r"VARCHAR|U?(TINYINT|SMALLINT|INTEGER|BIGINT)|DECIMAL\(.*\)")
"""Types whose values are read the same from text. Of others it is not enough: a DOUBLE's 5.0 is a whole number."""
DELIMITER = ","


def parquet_chunks(
    file: File, event_type: type[CoreBankingEvent], layout: Layout, start: int, size: int
) -> Iterator[Chunk]:
    """The file's rows from `start` on, `size` at a time. Raises FeedRefused."""
    try:
        import duckdb
    except ImportError:
        raise FeedRefused("not_installed", "Parquet needs DuckDB: requirements/backfill.txt has it") from None
    path, first = file.path, start
    try:
        with duckdb.connect(config=SETTINGS) as connection:
            # No globbing: the name is one file's, whatever characters are in it.
            literal = "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
            counted = connection.execute("select count(*) from read_parquet(?)", [literal]).fetchone()
            total = max(counted[0] if counted else 0, 1)
            described = connection.execute("describe select * from read_parquet(?)", [literal]).fetchall()
            types: dict[str, str] = {name: kind for name, kind, *_ in described}
            columns = Columns(path.name, event_type, list(types), layout)
            used = [name for at, name in enumerate(types) if at in columns.used]
            written = Columns(path.name, event_type, used, layout)
            plain = written.plain_rows(DELIMITER)
            if plain is not None and all(_is_read_from_text(types[name], layout) for name in used):
                query = f"select {', '.join(map(_named, used))} from read_parquet({_text(literal)}) offset {start}"  # noqa: S608 - quoted
                pieces = _by_text(connection, query, path.name, written, plain, start, size)
            else:
                pieces = _by_rows(connection, literal, columns, start, size)
            with closing(pieces):
                for items in pieces:
                    yield Chunk(first, items, (first + len(items)) / total)
                    first += len(items)
    except (duckdb.Error, UnicodeDecodeError) as fault:
        raise FeedRefused("unreadable_file", f"{path.name} after row {first}: {type(fault).__name__}") from fault


def _named(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _is_read_from_text(kind: str, layout: Layout) -> bool:
    """A day's text is ISO 8601, which it is not read as where days are written otherwise."""
    return _AS_TEXT.fullmatch(kind) is not None or (kind == "DATE" and layout.dates is None)


def _by_rows(
    connection: "DuckDBPyConnection", literal: str, columns: Columns, start: int, size: int
) -> Generator[Sequence[Item | None], None, None]:
    found = connection.execute("select * from read_parquet(?) offset ?", [literal, start])
    first = start
    while rows := found.fetchmany(size):
        lines = range(first + 1, first + 1 + len(rows))
        yield in_place(columns.read(rows, lines), lines)
        first += len(rows)


def _by_text(
    connection: "DuckDBPyConnection", query: str, name: str, columns: Columns, plain: PlainRows, start: int, size: int
) -> Generator[Sequence[Item | None], None, None]:
    """As the rows of a CSV file; each is the line that it is in the Parquet file, however many it is written in."""
    first = start
    with _copied(connection, query) as text:
        lines_of = TextLines(text)
        reader = csv.reader(lines_of, delimiter=DELIMITER)
        while some := lines_of.take(size):
            items: Sequence[Item | None] | None = plain.read("".join(some), range(first + 1, first + 1 + len(some)))
            if items is None:
                lines_of.give_back(some)
                faults: list[RowFault] = []
                rows, written = taken(reader, lines_of, size, name, faults)
                lines = range(first + 1, first + 1 + len(rows))
                read = columns.read(rows, lines)
                if faults:
                    line_of = dict(zip(written, lines, strict=True))
                    too_long = "one of its values has too many characters"
                    read = [*read, *[RowFault(name, line_of[each.line], "malformed_row", too_long) for each in faults]]
                items = in_place(read, lines)
            yield items
            first += len(items)


@contextmanager
def _copied(connection: "DuckDBPyConnection", query: str) -> Iterator[Iterator[str]]:
    """What a query finds, as lines of CSV. Raises duckdb.Error in place of a line that is cut short."""
    read_end, write_end = os.pipe()
    faults: list[Exception] = []

    def copy() -> None:
        try:
            connection.execute(
                f"copy ({query}) to '/dev/fd/{write_end}' (format csv, header false, delimiter '{DELIMITER}')"
            )
        except Exception as fault:  # noqa: BLE001, RUF100 - who reads is told
            faults.append(fault)
        finally:
            os.close(write_end)

    def whole_lines(text: IO[str]) -> Iterator[str]:
        for line in text:
            if not line.endswith("\n"):
                break
            yield line
        writing.join()
        if faults:
            raise faults[0]

    writing = Thread(target=copy, name="parquet")
    writing.start()
    try:
        with os.fdopen(read_end, encoding="utf-8", newline="") as text:
            yield whole_lines(text)
    finally:
        writing.join()  # whom nobody reads any more it tells so, and it ends
