"""Parquet, read by DuckDB: streamed by row groups, with bounded memory."""

from collections.abc import Iterator

from feeds.files.columns import Columns
from feeds.files.facts import Chunk, in_place
from feeds.files.layout import File, Layout
from feeds.rows import FeedRefused
from shared.events.corebanking import CoreBankingEvent

MEMORY = "512MB"
"""The most that DuckDB takes for itself; a row group of a million rows of events fits."""


def parquet_chunks(
    file: File, event_type: type[CoreBankingEvent], layout: Layout, start: int, size: int
) -> Iterator[Chunk]:
    """The file's rows from `start` on, `size` at a time. Raises FeedRefused."""
    try:
        import duckdb
    except ImportError:
        raise FeedRefused("not_installed", "Parquet needs DuckDB: requirements/backfill.txt has it") from None
    path, first = file.path, start
    # One thread: the rows come in the file's order, which a position counts by. Nothing is fetched from anywhere.
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": "1",
        "memory_limit": MEMORY,
        "preserve_insertion_order": "true",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    try:
        with duckdb.connect(config=settings) as connection:
            # No globbing: the name is one file's, whatever characters are in it.
            literal = "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
            counted = connection.execute("select count(*) from read_parquet(?)", [literal]).fetchone()
            total = max(counted[0] if counted else 0, 1)
            found = connection.execute("select * from read_parquet(?) offset ?", [literal, start])
            columns = Columns(path.name, event_type, [name for name, *_ in found.description or ()], layout)
            while rows := found.fetchmany(size):
                lines = range(first + 1, first + 1 + len(rows))
                yield Chunk(first, in_place(columns.read(rows, lines), lines), (first + len(rows)) / total)
                first += len(rows)
    except (duckdb.Error, UnicodeDecodeError) as fault:
        raise FeedRefused("unreadable_file", f"{path.name} after row {first}: {type(fault).__name__}") from fault
