"""JSON that is written by columns is what msgspec writes of each row."""

import random
from datetime import date

import msgspec
import numpy as np
import pytest

from shared import json_columns as json
from shared.columns import padded, texts

DAYS = [date(1, 1, 1), date(1999, 12, 31), date(2026, 11, 26), date(9999, 12, 31)]


def test_rows_are_what_msgspec_writes_of_each() -> None:
    dice = random.Random(5)
    extremes = [0, 1, -1, 9, -10, 10**8 - 1, 10**8, 2**53, -(2**53), 10**16 - 1, 1 - 10**16]
    numbers = [*extremes, *(dice.randrange(-(10**size), 10**size) for size in range(1, 17) for _ in range(40))]
    count = len(numbers)
    said = [dice.choice(("", "a", "名字", "\x7f", "x" * 70)) for _ in range(count)]
    notes = [dice.choice((None, "", "b")) for _ in range(count)]
    days = [dice.choice(DAYS) for _ in range(count)]
    rows = [
        {"n": number, "said": text, "day": day} | ({} if note is None else {"note": note})
        for number, text, day, note in zip(numbers, said, days, notes, strict=True)
    ]
    noted = np.array([note is not None for note in notes])
    for first, last in ((0, count), (0, 8), (3, 4)):
        some = slice(first, last)
        parts: list[bytes | json.Part] = [b'{"n":', json.integers(np.array(numbers[some]))]
        parts += [b',"said":"', json.texts(padded(texts(said[some])))]
        parts += [b'","day":"', json.dates(np.array([day.toordinal() for day in days[some]])), b'"']
        parts += [json.literal(b',"note":"', noted[some]), json.texts(padded(texts(notes[some])))]
        parts += [json.literal(b'"', noted[some]), b"}"]
        written = json.written(parts, last - first)
        assert written.rows() == [msgspec.json.encode(row) for row in rows[some]]
        assert (written.length == json.lengths(parts)).all()
        both = json.joined([written, written])
        assert both.rows() == written.rows() * 2
        again = json.written([b"[", both.part(np.arange(2 * (last - first))[::-1]), b"]"], 2 * (last - first))
        assert again.rows() == [b"[%b]" % row for row in reversed(both.rows())]


def test_an_integer_of_too_many_digits_is_refused() -> None:
    with pytest.raises(OverflowError):
        json.integers(np.array([10**16]))
    with pytest.raises(OverflowError):
        json.integers(np.array([-(2**63)]))


def test_what_msgspec_escapes_is_special_and_nothing_else() -> None:
    characters = [chr(code) for code in (*range(1, 0x300), 0x2028, 0x2029, 0xFFFF, 0x1F600)]
    escaped = [msgspec.json.encode(each)[1:-1] != each.encode() for each in characters]
    special = json.has_special(padded(texts([f"a{each}b" for each in characters])))
    assert special is not None
    assert special.tolist() == escaped
    assert json.has_special(padded(texts(["a", "bcd", None]))) is None
