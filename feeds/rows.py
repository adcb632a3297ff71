"""The rows of a bank's files: `;`-separated text, plain or gzipped, with a header, and what is wrong with them."""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")

ENDINGS = (".asc.gz", ".asc", ".csv.gz", ".csv")


@dataclass(frozen=True)
class RowFault:
    """A row that was left out, and why. `code` is stable; `detail` names the column, never its value."""

    file: str
    line: int
    code: str
    detail: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.code}: {self.detail}"


OnFault = Callable[[RowFault], None]


class FeedRefused(Exception):
    """The files cannot be fed at all: `missing_file`, `missing_column`, `unreadable_file`, `no_transactions`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class RowRefused(Exception):
    """One row cannot be read; the others can."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Row(NamedTuple):
    values: Mapping[str, str]

    def text(self, column: str) -> str:
        """A value that must be there."""
        if not (value := self.values[column].strip()):
            raise RowRefused("missing_value", f"{column} is empty")
        return value

    def optional(self, column: str) -> str | None:
        return self.values[column].strip() or None

    def minor(self, column: str) -> int:
        """A decimal number with at most two places, in hundredths."""
        value = self.text(column)
        digits = value.removeprefix("-")
        whole, _, fraction = digits.partition(".")
        if not (whole.isascii() and whole.isdigit() and len(fraction) <= 2 and (fraction + "00").isdecimal()):
            raise RowRefused("malformed_amount", f"{column} is not a number with at most two decimal places")
        hundredths = int(whole) * 100 + int(f"{fraction:0<2}")
        return -hundredths if value.startswith("-") else hundredths

    def day(self, column: str) -> date:
        """YYMMDD in the 1900s."""
        return day_of(self.text(column), column)


def day_of(yymmdd: str, column: str) -> date:
    if not (len(yymmdd) == 6 and yymmdd.isascii() and yymmdd.isdigit()):
        raise RowRefused("malformed_date", f"{column} is not YYMMDD")
    try:
        return date(1900 + int(yymmdd[:2]), int(yymmdd[2:4]), int(yymmdd[4:]))
    except ValueError:
        raise RowRefused("malformed_date", f"{column} is no day of the calendar") from None


def parsed(
    folder: Path, name: str, columns: tuple[str, ...], parse: Callable[[Row], T], on_fault: OnFault
) -> Iterator[T]:
    """What `parse` makes of each row of the file `name` with any of ENDINGS. Raises FeedRefused.

    A row that has more or fewer fields than the header, or that `parse` refuses, goes to `on_fault` and is left out.
    """
    path = file_of(folder, name)
    opener = gzip.open if path.suffix == ".gz" else open
    line = 0
    try:
        with opener(path, "rt", encoding="utf-8", errors="replace", newline="") as text:
            reader = csv.reader(text, delimiter=";")
            header = next(reader, [])
            if absent := [column for column in columns if column not in header]:
                raise FeedRefused("missing_column", f"{path.name} has no column {', '.join(absent)}")
            for fields in reader:
                line = reader.line_num
                try:
                    if len(fields) != len(header):
                        raise RowRefused("malformed_row", f"{len(fields)} fields, the header has {len(header)}")
                    yield parse(Row(dict(zip(header, fields, strict=True))))
                except RowRefused as refusal:
                    on_fault(RowFault(path.name, line, refusal.code, refusal.detail))
    except (OSError, EOFError, zlib.error, csv.Error) as fault:
        raise FeedRefused("unreadable_file", f"{path.name} after line {line}: {type(fault).__name__}") from fault


def file_of(folder: Path, name: str) -> Path:
    for ending in ENDINGS:
        if (path := folder / f"{name}{ending}").is_file():
            return path
    raise FeedRefused("missing_file", f"{folder} holds no {name} file ({', '.join(name + end for end in ENDINGS)})")
