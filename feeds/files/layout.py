"""How a bank's files are written, as its data team says it: columns, amounts, dates, encoding."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from feeds.files.facts import TYPES
from feeds.rows import FeedRefused
from shared.events.corebanking import CoreBankingEvent


class Format(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"


class Amounts(StrEnum):
    MINOR = "minor"
    """-25000 is 250.00 out of the account."""
    MAJOR = "major"
    """-250.00 is; the currency says how many decimal places there may be."""


@dataclass(frozen=True)
class Layout:
    """`type` and `format` are None where each file's name says them."""

    source: str | None = None
    type: str | None = None
    format: Format | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """A field's column, where it has another name; one column may be several fields."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """The value of a field that no column has."""
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For a field, what the bank's values are called here; `*` is any other."""
    amounts: Amounts = Amounts.MINOR
    decimal_mark: str = "."
    debit: tuple[str, str] | None = None
    """The column and its value that make an amount a debit, where amounts have no sign."""
    dates: str | None = None
    """As strptime has it, %Y%m%d; ISO 8601 without."""
    timezone: str | None = None
    """Of instants that have no offset."""
    delimiter: str | None = None
    encoding: str = "utf-8"
    header: tuple[str, ...] | None = None
    """The columns' names, where the file has none."""

    def __post_init__(self) -> None:
        """Raises FeedRefused."""
        try:
            "".encode(self.encoding)
        except LookupError:
            raise FeedRefused("unknown_encoding", f"there is no encoding {self.encoding}") from None
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (ZoneInfoNotFoundError, ValueError):
                raise FeedRefused("unknown_timezone", f"there is no time zone {self.timezone}") from None
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise FeedRefused("bad_delimiter", "a delimiter is one character, or `tab`")
        if self.decimal_mark not in (".", ","):
            raise FeedRefused("bad_decimal_mark", "a decimal mark is a point or a comma")

    def as_said(self) -> dict[str, object]:
        """What makes the same file read otherwise."""
        return asdict(self)


def event_type_of(name: str) -> type[CoreBankingEvent]:
    """`transaction_posted` or the whole of `corebanking.transaction_posted.v1`. Raises FeedRefused."""
    for full in (name, f"corebanking.{name}", f"corebanking.{name}.v1"):
        if full in TYPES:
            return TYPES[full]
    known = ", ".join(short_name(event_type) for event_type in TYPES.values())
    raise FeedRefused("unknown_type", f"there is no event type {name}; there are {known}")


def short_name(event_type: type[CoreBankingEvent]) -> str:
    return event_type.TYPE.split(".")[1]


_CALLED = {
    "branches": "branch_recorded",
    "managers": "manager_recorded",
    "parties": "party_recorded",
    "customers": "party_recorded",
    "accounts": "account_recorded",
    "transactions": "transaction_posted",
    "reversals": "transaction_reversed",
    "contacts": "contact_recorded",
    "complaints": "complaint_recorded",
    "surveys": "survey_answered",
    "life_events": "life_event_recorded",
    "business_days": "business_day_closed",
}
_FORMATS = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".txt": Format.CSV,
    ".asc": Format.CSV,
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".parquet": Format.PARQUET,
}
_COMPRESSED = (".gz", ".zst", ".zstd")


def type_from_name(path: Path) -> type[CoreBankingEvent] | None:
    """`transactions-2024.csv.gz`, `transaction_posted.parquet`: by how the name begins."""
    name = re.sub(r"[^a-z0-9]+", "_", path.name.casefold())
    for called, short in [*_CALLED.items(), *((short, short) for short in _CALLED.values())]:
        if re.match(rf"{called}(_|[0-9]|$)", name):
            return event_type_of(short)
    return None


def format_from_name(path: Path) -> Format | None:
    return _FORMATS.get(_bare_suffix(path))


def delimiter_of(path: Path, layout: Layout) -> str:
    return layout.delimiter or ("\t" if _bare_suffix(path) == ".tsv" else ",")


def _bare_suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@dataclass(frozen=True)
class File:
    """A file to be loaded. `event_type` is None when its lines are CloudEvents and say it themselves."""

    path: Path
    format: Format
    event_type: type[CoreBankingEvent] | None


def found_files(paths: Sequence[str], layout: Layout) -> list[File]:
    """The files, folders and patterns named, in the order of loading: what is named before what names it.

    Raises FeedRefused.
    """
    files: dict[Path, File] = {}
    for given in paths:
        matched = _matched(given)
        if not matched:
            raise FeedRefused(
                "missing_file", f"{given} is no file, no folder with files to load and no pattern of some"
            )
        for path in matched:
            files[path] = _file(path, layout)
    order = list(TYPES.values())
    return sorted(
        files.values(), key=lambda f: (order.index(f.event_type) if f.event_type else len(order), str(f.path))
    )


def _matched(given: str) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        return [each.resolve() for each in path.rglob("*") if each.is_file() and format_from_name(each)]
    if path.is_file():
        return [path.resolve()]
    root = Path(path.anchor) if path.is_absolute() else Path()
    pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else given
    return [each.resolve() for each in root.glob(pattern) if each.is_file()]


def _file(path: Path, layout: Layout) -> File:
    file_format = layout.format or format_from_name(path)
    if file_format is None:
        raise FeedRefused("unknown_format", f"the name of {path.name} does not tell its format; --format does")
    if layout.type is not None:
        return File(path, file_format, event_type_of(layout.type))
    event_type = type_from_name(path)
    if event_type is None and file_format is not Format.NDJSON:
        raise FeedRefused("unknown_type", f"the name of {path.name} does not tell what its rows are; --type does")
    # Lines of NDJSON are CloudEvents, unless somebody says what else.
    return File(path, file_format, None if file_format is Format.NDJSON else event_type)
