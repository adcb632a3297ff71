"""Transactions that were posted, by columns: nearly all that a core sends, without an object for each step of each."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import blake2b
from itertools import chain
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from services.customer.use_cases.receiving import Received, is_name, is_possible
from shared.events.corebanking import TransactionPosted

Ints = npt.NDArray[np.int64]


AT_ONCE = 1_000
"""Transactions that stay in the processor's cache from one step to the next."""


class PlainTransaction(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The fields of `TransactionPosted` in its order, so that it is written alike; `wrong_rows` holds it to the rules.

    It is read in two thirds of the time, and made of columns in a quarter.
    """

    account_id: str | None = None
    transaction_id: str | None = None
    booked_on: date | None = None
    sequence: int = 0
    amount_minor: int | None = None
    currency: str | None = None
    kind: str | None = None
    balance_after_minor: int | None = None
    counterparty_bank: str | None = None


FIELDS = PlainTransaction.__struct_fields__
Columns = Mapping[str, Sequence[Any]]
"""By the names of FIELDS."""


def _unreceived(line: int) -> Received:
    raise RuntimeError(f"who joined the parts has not said how line {line} is received")


@dataclass(frozen=True)
class Transactions:
    """Of one source, in the order in which they came; each is right by itself."""

    source: str
    lines: Sequence[int]
    """Where each is in what came, as `Received.line`."""
    event_ids: Sequence[str]
    columns: Columns
    fingerprints: Ints
    """Digests, until the database's key has made fingerprints of them."""
    receive_line: Callable[[int], Received] = _unreceived
    """The one of this line as an event, for the way of all others."""

    def __len__(self) -> int:
        return len(self.event_ids)


def joined(parts: Sequence[Transactions], receive_line: Callable[[int], Received]) -> Transactions:
    """Parts of one source, one after the other."""
    return Transactions(
        parts[0].source,
        list(chain.from_iterable(part.lines for part in parts)),
        list(chain.from_iterable(part.event_ids for part in parts)),
        {name: list(chain.from_iterable(part.columns[name] for part in parts)) for name in FIELDS},
        np.concatenate([part.fingerprints for part in parts]),
        receive_line,
    )


def columns_of(transactions: Sequence[PlainTransaction]) -> Columns:
    rows = transactions
    return {
        "account_id": [row.account_id for row in rows],
        "transaction_id": [row.transaction_id for row in rows],
        "booked_on": [row.booked_on for row in rows],
        "sequence": [row.sequence for row in rows],
        "amount_minor": [row.amount_minor for row in rows],
        "currency": [row.currency for row in rows],
        "kind": [row.kind for row in rows],
        "balance_after_minor": [row.balance_after_minor for row in rows],
        "counterparty_bank": [row.counterparty_bank for row in rows],
    }


def transactions_of(
    source: str,
    lines: Sequence[int],
    event_ids: Sequence[str],
    columns: Columns,
    now: datetime,
    receive_line: Callable[[int], Received],
) -> tuple[Transactions | None, list[int]]:
    """Of rows of a file, whose values are of the fields' types; and the indexes of those that break a rule."""
    every = range(len(lines))
    if not is_name(source):
        return None, list(every)
    wrong = wrong_rows(columns, now)
    for name in ("account_id", "transaction_id", "counterparty_bank"):
        wrong.update(at for at, value in enumerate(columns[name]) if value and "\x00" in value)
    if wrong:
        kept = sorted(set(every) - wrong)
        if not kept:
            return None, list(every)
        lines, event_ids = [lines[at] for at in kept], [event_ids[at] for at in kept]
        columns = {name: [column[at] for at in kept] for name, column in columns.items()}
    fingerprints = [
        fingerprints_of(list(map(PlainTransaction, *(columns[name][first : first + AT_ONCE] for name in FIELDS))))
        for first in range(0, len(lines), AT_ONCE)
    ]
    return Transactions(source, lines, event_ids, columns, np.concatenate(fingerprints), receive_line), sorted(wrong)


_encoder = msgspec.json.Encoder()


def fingerprints_of(transactions: Sequence[PlainTransaction]) -> Ints:
    """As `receive` makes them: of the event as it is written here, whatever came with it."""
    lines = _encoder.encode_lines(transactions).split(b"\n")  # a line break within a text is escaped
    digests = b"".join([blake2b(line, digest_size=8).digest() for line in lines[: len(transactions)]])
    return np.frombuffer(digests, ">i8").astype(np.int64)


def wrong_rows(columns: Columns, now: datetime) -> set[int]:
    """The indexes of rows that break a rule of `TransactionPosted`, or name a day that no bank can mean."""
    return set().union(*(wrong(columns[name], now) for name, wrong in _RULES.items()))


_Rule = Callable[[Sequence[Any], datetime], set[int]]


def _rule(info: msgspec.inspect.Type, required: bool) -> _Rule:
    """What a column is held to, as its event's type declares it."""
    match info:
        case msgspec.inspect.Metadata(type=inner):
            return _rule(inner, required)
        case msgspec.inspect.UnionType(types=types):
            (inner,) = (each for each in types if not isinstance(each, msgspec.inspect.NoneType))
            return _rule(inner, required)
        case msgspec.inspect.StrType(min_length=least, max_length=most, pattern=None) if most is not None:
            return _of_length(least or 0, most, required)
        case msgspec.inspect.StrType(min_length=None, max_length=None, pattern=pattern) if pattern is not None:
            fits = re.compile(pattern).fullmatch
            return _one_of(lambda value, _: fits(value) is not None, required)
        case msgspec.inspect.EnumType(cls=kinds):
            known = {each.value for each in kinds}
            return _one_of(lambda value, _: value in known, required)
        case msgspec.inspect.DateType():
            return _one_of(lambda value, now: is_possible(value, False, now), required)
        case msgspec.inspect.IntType(ge=least, le=most) if least is not None and most is not None:
            return _between(least, most, required)
    raise TypeError(f"there is no rule for {info}")


def _of_length(least: int, most: int, required: bool) -> _Rule:
    def wrong(values: Sequence[str | None], _: datetime) -> set[int]:
        if None not in values:
            lengths = [*map(len, cast("Sequence[str]", values))]
            if least <= min(lengths) and max(lengths) <= most:
                return set()
        return {
            at for at, value in enumerate(values) if (required if value is None else not least <= len(value) <= most)
        }

    return wrong


def _between(least: int, most: int, required: bool) -> _Rule:
    def wrong(values: Sequence[int | None], _: datetime) -> set[int]:
        if None not in values:
            numbers = cast("Sequence[int]", values)
            if least <= min(numbers) and max(numbers) <= most:
                return set()
        return {at for at, value in enumerate(values) if (required if value is None else not least <= value <= most)}

    return wrong


def _one_of(is_right: Callable[[Any, datetime], bool], required: bool) -> _Rule:
    """For columns with few different values."""

    def wrong(values: Sequence[Any], now: datetime) -> set[int]:
        bad = {each for each in set(values) if (required if each is None else not is_right(each, now))}
        return {at for at, value in enumerate(values) if value in bad} if bad else set()

    return wrong


_TYPE = msgspec.inspect.type_info(TransactionPosted)
assert isinstance(_TYPE, msgspec.inspect.StructType), "an event is a struct"
_RULES = {field.name: _rule(field.type, field.required) for field in _TYPE.fields}
