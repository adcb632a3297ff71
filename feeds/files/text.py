"""CSV and NDJSON: streamed, plain or compressed, in any encoding, with bounded memory."""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from feeds.files.columns import Columns, usable_columns
from feeds.files.facts import Chunk, Envelope, Item, in_place
from feeds.files.layout import File, Layout, delimiter_of
from feeds.files.plain_objects import PlainObjects
from feeds.rows import FeedRefused, RowFault
from shared.events.corebanking import CoreBankingEvent

MOST_LINE_BYTES = 1_048_576
"""Of a line of NDJSON; an event is a few hundred."""
_UNREADABLE = "\udcff"
"""Stands for bytes that the encoding does not have; no text holds it."""

_decode_object = msgspec.json.Decoder(dict[str, Any])


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], Callable[[], float]]]:
    """The file's bytes, decompressed when they are gzip or Zstandard whatever its name is; and how much is read.

    Raises FeedRefused.
    """
    with path.open("rb") as raw:
        size = max(path.stat().st_size, 1)

        def share() -> float:
            return min(raw.tell() / size, 1.0)

        magic = raw.read(4)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw) as plain:
                yield cast("IO[bytes]", io.BufferedReader(plain, 1 << 17)), share
        elif magic == b"\x28\xb5\x2f\xfd":
            with _zstd_reader(raw, path) as plain_zstd:
                yield cast("IO[bytes]", io.BufferedReader(plain_zstd, 1 << 17)), share
        else:
            yield raw, share


def zstd_module() -> Any:
    """Raises ImportError where nothing reads Zstandard."""
    try:
        from compression import zstd  # since Python 3.14
    except ImportError:
        from backports import zstd  # the same for those before it
    return zstd


def _zstd_reader(raw: IO[bytes], path: Path) -> Any:
    try:
        return zstd_module().ZstdFile(raw)
    except ImportError:
        raise FeedRefused(
            "not_installed", f"{path.name} is compressed with Zstandard: requirements/backfill.txt reads it"
        ) from None


@contextmanager
def _refusing(path: Path, position: "list[int]") -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, UnicodeError) as fault:
        raise FeedRefused("unreadable_file", f"{path.name} after line {position[0]}: {type(fault).__name__}") from fault


class _Unreadable:
    """Remembers that something could not be decoded: rows are searched for it from then on."""

    def __init__(self) -> None:
        self.seen = False
        self.name = f"branchline-{id(self)}"
        codecs.register_error(self.name, self._replace)

    def _replace(self, fault: UnicodeError) -> tuple[str, int]:
        assert isinstance(fault, UnicodeDecodeError)
        self.seen = True
        return _UNREADABLE, fault.end


def csv_chunks(
    file: File, event_type: type[CoreBankingEvent], layout: Layout, start: int, size: int
) -> Iterator[Chunk]:
    """The file's records from `start` on, `size` at a time. Raises FeedRefused."""
    path, unreadable, position = file.path, _Unreadable(), [0]
    encoding = "utf-8-sig" if codecs.lookup(layout.encoding).name == "utf-8" else layout.encoding
    with _refusing(path, position), opened(path) as (raw, share):
        text = io.TextIOWrapper(raw, encoding=encoding, errors=unreadable.name, newline="")
        lines_of, delimiter = TextLines(text), delimiter_of(path, layout)
        reader = csv.reader(lines_of, delimiter=delimiter)
        header = layout.header if layout.header is not None else next(reader, None)
        if header is None:
            return
        columns = Columns(path.name, event_type, header, layout)
        plain = columns.plain_rows(delimiter)
        first = 0
        while first < start:
            passed = _pass_by(reader, lines_of, min(size, start - first), path.name)
            if not passed:
                raise FeedRefused("file_too_short", f"{path.name} ends before its record {start}, where to go on")
            first += passed
        while True:
            position[0] = lines_of.number
            if plain is not None:
                some = lines_of.take(size)
                posted = (
                    plain.read("".join(some), range(position[0] + 1, position[0] + 1 + len(some))) if some else None
                )
                if posted is not None:
                    yield Chunk(first, posted, share())
                    first += len(posted)
                    continue
                lines_of.give_back(some)
            faults: list[RowFault] = []
            rows, lines = taken(reader, lines_of, size, path.name, faults)
            if not rows:
                return
            all_lines = lines
            if faults or unreadable.seen:
                rows, lines = _without_unreadable(rows, lines, path.name, faults)
            items = columns.read(rows, lines)
            yield Chunk(first, in_place([*items, *faults] if faults else items, all_lines), share())
            first += len(all_lines)


class TextLines:
    """A text's lines, which may be given back."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self._given_back = iter(list[str]())
        self.number = 0
        """Of the line that was taken last."""

    def __iter__(self) -> "TextLines":
        return self

    def __next__(self) -> str:
        line = next(self._given_back, None)
        if line is None:
            line = next(self._text)
        self.number += 1
        return line

    def take(self, most: int) -> list[str]:
        lines = list(islice(chain(self._given_back, self._text), most))
        self.number += len(lines)
        return lines

    def give_back(self, lines: list[str]) -> None:
        """What was taken last."""
        self._given_back = iter([*lines, *self._given_back])
        self.number -= len(lines)


def _pass_by(reader: Any, lines_of: TextLines, size: int, name: str) -> int:
    """How many records there were, up to `size`; without a quote, each line is one."""
    some = lines_of.take(size)
    if any('"' in line for line in some):
        lines_of.give_back(some)
        return len(taken(reader, lines_of, size, name, [])[0])
    return len(some)


def taken(
    reader: Any, lines_of: TextLines, size: int, name: str, faults: list[RowFault]
) -> tuple[list[list[str]], Sequence[int]]:
    """Up to `size` records and the line that each begins on. What is no record counts as an empty one."""
    rows: list[list[str]] = []
    before = lines_of.number
    broken: dict[int, tuple[int, str]] = {}
    while len(rows) < size:
        try:
            rows.extend(islice(reader, size - len(rows)))
            break
        except csv.Error as fault:  # the records before it are in `rows`
            broken[len(rows)] = (lines_of.number, f"{fault}; its quotes may be unbalanced")
            rows.append([])
    if not broken and lines_of.number - before == len(rows):
        return rows, range(before + 1, before + 1 + len(rows))
    lines, line = [], before + 1
    for index, row in enumerate(rows):
        lines.append(line)
        if index in broken:
            last, detail = broken[index]
            faults.append(RowFault(name, line, "malformed_row", f"{detail} (up to line {last})"))
            line = last + 1
        else:
            line += 1 + sum(map(_line_ends, row))
    return rows, lines


def _line_ends(cell: str) -> int:
    return cell.count("\n") + cell.count("\r") - cell.count("\r\n")


def _without_unreadable(
    rows: list[list[str]], lines: Sequence[int], name: str, faults: list[RowFault]
) -> tuple[list[list[str]], list[int]]:
    kept = []
    for row, line in zip(rows, lines, strict=True):
        if any(_UNREADABLE in cell for cell in row):
            faults.append(RowFault(name, line, "undecodable_text", "it holds bytes that its --encoding does not have"))
        else:
            kept.append((row, line))
    return [row for row, _ in kept], [line for _, line in kept]


def ndjson_chunks(file: File, layout: Layout, start: int, size: int) -> Iterator[Chunk]:
    """The file's lines from `start` on, `size` at a time. Raises FeedRefused."""
    path, position = file.path, [0]
    columns, plain, names = None, None, list[str]()
    if file.event_type is not None:
        names = usable_columns(file.event_type, layout)
        columns = Columns(path.name, file.event_type, names, layout)
        plain = PlainObjects.of(file.event_type, layout)
    with _refusing(path, position), opened(path) as (raw, share):
        lines = _lines(raw, layout.encoding)
        for _ in range(start):
            if next(lines, None) is None:
                raise FeedRefused("file_too_short", f"{path.name} ends before its line {start}, where to go on")
        position[0] = start
        while some := list(islice(lines, size)):
            if plain is not None and len(max(some, key=len)) <= MOST_LINE_BYTES:
                posted = plain.read(some, range(position[0] + 1, position[0] + 1 + len(some)))
                if posted is not None:
                    yield Chunk(position[0], posted, share())
                    position[0] += len(some)
                    continue
            others: list[Item] = []
            rows, numbers = [], []
            for line, payload in enumerate(some, position[0] + 1):
                if not payload or payload.isspace():
                    continue
                if len(payload) > MOST_LINE_BYTES:
                    others.append(RowFault(path.name, line, "line_too_long", f"it has over {MOST_LINE_BYTES} bytes"))
                elif columns is None:
                    others.append(Envelope(line, payload))
                else:
                    try:
                        named = _decode_object.decode(payload)
                    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                        others.append(RowFault(path.name, line, "malformed_row", "it is no JSON object"))
                    else:
                        rows.append([named.get(name) for name in names])
                        numbers.append(line)
            items = columns.read(rows, numbers) if columns is not None else []
            items = [*items, *others] if others else items
            yield Chunk(position[0], in_place(items, range(position[0] + 1, position[0] + 1 + len(some))), share())
            position[0] += len(some)


def _lines(raw: IO[bytes], encoding: str) -> Iterator[bytes]:
    """Without a byte order mark; a line that is too long is cut short, and told by its length."""
    if codecs.lookup(encoding).name != "utf-8":
        text = io.TextIOWrapper(raw, encoding=encoding, newline="\n")
        try:
            yield from (line.encode() for line in text)
        finally:
            text.detach()  # whose end would close the file
        return
    first = raw.readline(MOST_LINE_BYTES + 4).removeprefix(codecs.BOM_UTF8)
    for line in chain([first] if first else [], iter(lambda: raw.readline(MOST_LINE_BYTES + 1), b"")):
        yield line
        rest = line
        while len(rest) > MOST_LINE_BYTES and not rest.endswith(b"\n"):
            rest = raw.readline(MOST_LINE_BYTES + 1)
