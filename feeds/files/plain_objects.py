"""Lines of NDJSON that are plain transactions, by columns: as `plain` reads the rows of a CSV file.

Ids that are not of visible ASCII, an instant of its own, a line that is no such object: then the lines are read as any
others are, which also tells what is wrong with them.
"""

import re
from collections.abc import Sequence

import msgspec
import numpy as np

from feeds.files.facts import PostedColumns, PostedValues
from feeds.files.layout import Amounts, Layout
from shared.byte_slices import SLACK, Slices
from shared.columns import Column, chosen
from shared.event_columns import EventColumns, EventReader
from shared.events.corebanking import CoreBankingEvent, TransactionPosted

_CURRENCY = re.compile("[A-Z]{3}")


class _Lines:
    """As `EventReader` takes the values of records."""

    def __init__(self, buffer: bytes, value: Slices) -> None:
        self.buffer = buffer
        self.value = value

    def __len__(self) -> int:
        return len(self.value.at)


class PlainObjects:
    """How the lines of one file are read so."""

    def __init__(self) -> None:
        self._reader = EventReader(TransactionPosted)

    @classmethod
    def of(cls, event_type: type[CoreBankingEvent], layout: Layout) -> "PlainObjects | None":
        """None where names, values or amounts are others than the event's own."""
        is_own = layout.amounts is Amounts.MINOR and layout.debit is None and layout.dates is None
        mapped = layout.columns or layout.constants or layout.values
        return cls() if event_type is TransactionPosted and is_own and not mapped else None

    def read(self, lines: Sequence[bytes], numbers: range) -> PostedColumns | None:
        """None where not all of the lines are plain."""
        whole = b"".join(lines)
        length = np.fromiter(map(len, lines), np.int64, len(lines))
        if b'"time"' in whole or not _is_text(whole):
            return None
        events = self._reader.read(_Lines(whole + bytes(SLACK), Slices(np.cumsum(length) - length, length)))
        if events.faults or any(_has_time(events.bytes_of(row)) for row in events.singly):
            return None
        return _posted(events, numbers)


def _has_time(line: bytes) -> bool:
    """Whether the key is there after all, written with an escape."""
    return b"\\u" in line and "time" in msgspec.json.decode(line)


def _is_text(whole: bytes) -> bool:
    """What is passed over is not looked at otherwise."""
    try:
        whole.decode()
    except UnicodeDecodeError:
        return False
    return True


def _posted(events: EventColumns[TransactionPosted], numbers: range) -> PostedColumns | None:
    account_id, transaction_id = events.texts("account_id"), events.texts("transaction_id")
    bank = events.texts("counterparty_bank")
    currencies, currency = events.choices("currency")
    # A pattern lets a line break pass at a text's end; who reads cell by cell takes it away.
    are_currencies = all(_CURRENCY.fullmatch(currencies[at] or "") for at in np.unique(currency).tolist())
    if not (
        are_currencies and _is_visible(account_id, b"/") and _is_visible(transaction_id, b"/") and _is_visible(bank)
    ):
        return None
    days, day = events.choices("booked_on")
    unstated = events.nulls("balance_after_minor")
    columns = PostedValues(
        account_id,
        transaction_id,
        np.array([0 if each is None else each.toordinal() for each in days])[day],
        events.integers("sequence"),
        events.integers("amount_minor"),
        chosen(currencies, currency),
        chosen(*events.choices("kind")),
        events.integers("balance_after_minor"),
        np.ones(len(events), np.bool_) if unstated is None else ~unstated,
        bank,
    )
    return PostedColumns(numbers, columns)


def _is_visible(texts: Column, without: bytes = b"") -> bool:
    """Whether all are of visible ASCII, none is empty, and none has one of these bytes."""
    assert isinstance(texts.values, np.ndarray), "an array of items"
    said = np.ascontiguousarray(texts.values).view(np.uint8)
    lengths = np.full(len(texts.values), texts.width) if texts.lengths is None else texts.lengths
    if (lengths == 0).any() or any((said == byte).any() for byte in without):
        return False
    visible = int(np.count_nonzero(said - np.uint8(0x21) <= np.uint8(0x5D)))
    return visible == int(np.maximum(lengths, 0).sum())
