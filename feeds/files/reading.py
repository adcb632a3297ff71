"""Reading a file of any of the formats, and telling it from all others."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from feeds.files.facts import Chunk
from feeds.files.layout import File, Format, Layout
from feeds.files.parquet import parquet_chunks
from feeds.files.text import csv_chunks, ndjson_chunks
from feeds.rows import FeedRefused


def chunks(file: File, layout: Layout, start: int, size: int) -> Iterator[Chunk]:
    """The file's records from `start` on, `size` at a time. Raises FeedRefused."""
    if file.format is Format.NDJSON:
        return ndjson_chunks(file, layout, start, size)
    if file.event_type is None:
        raise FeedRefused("unknown_type", f"what the rows of {file.path.name} are is not said; --type says it")
    read = csv_chunks if file.format is Format.CSV else parquet_chunks
    return read(file, file.event_type, layout, start, size)


def content_of(path: Path) -> str:
    """What the file holds, as a hash: a file that was moved is the same, one that was changed is another.

    Raises FeedRefused.
    """
    try:
        with path.open("rb") as raw:
            return hashlib.file_digest(raw, "sha256").hexdigest()
    except OSError as fault:
        raise FeedRefused("unreadable_file", f"{path.name}: {fault.strerror}") from fault
