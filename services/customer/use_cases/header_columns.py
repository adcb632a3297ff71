"""The headers of the core's events by columns: whether they are what `receive` takes, without an object for each."""

from datetime import datetime
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from services.customer.domain.dates import EARLIEST_YEAR, LATEST_YEAR, is_plausible, may_have_happened
from services.customer.use_cases.receiving import MAX_ID_LENGTH
from services.customer.use_cases.transaction_columns import Flags, Ints
from shared.byte_slices import Slices, blocks
from shared.messaging.record_columns import ABSENT

ROWS_AT_ONCE = 2_000  # stay in the processor's cache


def are_names(buffer: bytes, ids: Slices) -> Flags:
    """Which are names in ASCII: those in other alphabets are left to be read by themselves."""
    names: Flags = (ids.length > 0) & (ids.length <= MAX_ID_LENGTH)
    for length in np.unique(ids.length[names]).tolist():
        rows = np.flatnonzero(ids.length == length)
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            right = blocks(buffer, ids.at[some], length).view(np.int8) > 0
            if not right.all():
                names[some] = right.all(axis=1)
    return names


def have_happened(buffer: bytes, times: Slices, now: datetime) -> Flags:
    """Which are instants that a bank can mean; one that is not said is now."""
    right: Flags = times.length == ABSENT
    readable = (times.length > 0) & (times.length <= _MOST_READ)
    for length in np.unique(times.length[readable]).tolist():
        rows = np.flatnonzero(times.length == length)
        for first in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[first : first + ROWS_AT_ONCE]
            right[some] = _have_happened(buffer, times.at[some], length, now)
    return right


_Bytes = npt.NDArray[np.uint8]
_Instant = Annotated[datetime, msgspec.Meta(tz=True)]
_SHORTEST, _LONGEST = len("2026-11-02T09:00:00Z"), len("2026-11-02T09:00:00.123456+00:00")
_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_MOST_READ = 64  # bytes, which no instant takes


def _have_happened(buffer: bytes, at: Ints, length: int, now: datetime) -> Flags:
    """Of instants that are written in as many bytes."""
    right = np.zeros(len(at), np.bool_)
    if _SHORTEST <= length <= _LONGEST:
        said = blocks(buffer, at, length)
        in_utc = said[:, -1] == ord("Z")
        for zone, which in ((b"Z", in_utc), (b"+00:00", ~in_utc)):
            if which.any():
                right[which] = _are_past(said[which], zone, now)
    doubtful = np.flatnonzero(~right)
    texts = [buffer[first : first + length] for first in at[doubtful].tolist()]
    right[doubtful] = [_has_happened(text, now) for text in texts]
    return right


def _are_past(said: _Bytes, zone: bytes, now: datetime) -> Flags:
    """Which are instants, as RFC 3339 has them, of today in their own zone at the latest. Others may be, too."""
    fraction = said.shape[1] - len("2026-11-02T09:00:00") - len(zone)
    if fraction < 0 or fraction == 1 or fraction > 7:
        return np.zeros(len(said), np.bool_)
    digits = b"." + b"0" * (fraction - 1) if fraction else b""
    least = np.frombuffer(b"0000-00-00T00:00:00" + digits + zone, np.uint8)
    most = np.frombuffer(least.tobytes().replace(b"0", b"9").replace(b"+", b"-"), np.uint8)
    right: Flags = np.equal(((least <= said) & (said <= most)).all(axis=1), True)

    def number(first: int, last: int) -> Ints:
        value = np.zeros(len(said), np.int64)
        for place in range(first, last):
            value = value * 10 + (said[:, place] & 0x0F)
        return value

    year, month, day = number(0, 4), number(5, 7), number(8, 10)
    right &= (year > EARLIEST_YEAR) & (year < LATEST_YEAR) & (month >= 1) & (month <= 12)
    right &= (day >= 1) & (day <= _DAYS[np.minimum(month, 12)])
    right &= (number(11, 13) < 24) & (number(14, 16) < 60) & (number(17, 19) < 60)
    if zone != b"Z":
        right &= (said[:, -6] != ord(",")) & (number(-5, -3) < 24) & (number(-2, 0) < 60)
    right &= (year * 100 + month) * 100 + day <= (now.year * 100 + now.month) * 100 + now.day
    return right


def _has_happened(text: bytes, now: datetime) -> bool:
    """As `read_record` and `receive` read it."""
    try:
        time = msgspec.convert(text.decode(), _Instant)
    except (msgspec.ValidationError, UnicodeDecodeError):
        return False
    return is_plausible(time) and may_have_happened(time, now)
