"""Transactions that were posted, by columns: nearly all that a core sends, without an object for each."""

import re
from bisect import bisect_right
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt

from services.customer.use_cases.receiving import Received, hashes_in, is_name, is_possible
from shared import json_columns as json
from shared.columns import Column, choices, nullable_numbers, numbers, padded, stacked, texts, words_of
from shared.events.corebanking import TransactionPosted
from shared.json_columns import Part, Written
from shared.messaging.seen import Hashes, hashes_of_columns

T = TypeVar("T")

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

AT_ONCE = 2_000
"""Transactions that stay in the processor's cache from one step to the next."""

FIELDS = TransactionPosted.__struct_fields__
Columns = Mapping[str, Sequence[Any]]
"""By the names of FIELDS."""


class Facts(NamedTuple):
    """What transactions are, a row each: texts without NUL as arrays, days as ordinals, 0 for a number that is null."""

    account_id: Column
    transaction_id: Column
    day: Ints
    sequence: Ints
    amount: Ints
    currency: Column
    kind: Column
    stated: Ints
    states: Flags
    """Whether the core stated the balance after it."""
    bank: Column
    """The counterparty's, or null."""

    @property
    def is_external(self) -> Flags:
        lengths = self.bank.lengths
        return np.ones(len(self.day), np.bool_) if lengths is None else lengths >= 0

    @classmethod
    def joined(cls, some: "Sequence[Facts]") -> "Facts":
        return cls(
            account_id=stacked([each.account_id for each in some]),
            transaction_id=stacked([each.transaction_id for each in some]),
            day=np.concatenate([each.day for each in some]),
            sequence=np.concatenate([each.sequence for each in some]),
            amount=np.concatenate([each.amount for each in some]),
            currency=stacked([each.currency for each in some]),
            kind=stacked([each.kind for each in some]),
            stated=np.concatenate([each.stated for each in some]),
            states=np.concatenate([each.states for each in some]),
            bank=stacked([each.bank for each in some]),
        )

    def part(self, first: int, last: int) -> "Facts":
        return self.take(np.arange(len(self.day))[first:last])

    def take(self, index: Ints) -> "Facts":
        return Facts(
            self.account_id.take(index),
            self.transaction_id.take(index),
            self.day[index],
            self.sequence[index],
            self.amount[index],
            self.currency.take(index),
            self.kind.take(index),
            self.stated[index],
            self.states[index],
            self.bank.take(index),
        )


class Named(NamedTuple):
    """The accounts that transactions name, each once, and for each transaction which of them it is."""

    names: Sequence[str]
    of: Ints


def _unreceived(line: int) -> Received:
    raise RuntimeError(f"who made the transactions has not said how line {line} is received")


@dataclass(frozen=True)
class Transactions:
    """Of one source, in the order in which they came; each is right by itself."""

    source: str
    lines: Ints
    """Where each is in what came, as `Received.line`."""
    event_ids: Column | None
    """None where each is named by its transaction: see `transaction_ids`."""
    facts: Facts
    named: Named
    event_hashes: Hashes
    hashes: Hashes
    fingerprints: Ints
    """Digests, until the database's key has made fingerprints of them."""
    told: Written
    """What the core's event and the customer's say alike, from the amount to the balance."""
    receive_line: Callable[[int], Received] = field(default=_unreceived, repr=False)
    """The one of this line as an event, for the way of all others."""

    def __len__(self) -> int:
        return len(self.lines)


def making(
    source: str, lines: Ints, event_ids: Column | None, facts: Facts, receive_line: Callable[[int], Received]
) -> Generator[None, None, Transactions]:
    """Makes the transactions bit by bit. `event_ids` are texts as the facts are."""
    named = _named(facts.account_id)
    yield
    hashes = hashes_in(source, facts.account_id, facts.transaction_id)
    event_hashes = hashes if event_ids is None else hashes_in(source, event_ids)
    yield
    digests: list[bytes] = []
    told = []
    for first in range(0, len(lines), AT_ONCE):
        events, part = written_as_events(facts.part(first, first + AT_ONCE))
        digests += [blake2b(event, digest_size=8).digest() for event in events]
        told.append(part)
        yield
    fingerprints = np.frombuffer(b"".join(digests), ">i8").astype(np.int64)
    written = json.joined(told)
    return Transactions(
        source, lines, event_ids, facts, named, event_hashes, hashes, fingerprints, written, receive_line
    )


def joined(some: Sequence[Transactions]) -> Transactions:
    """Batches of one source, one after the other in the order of their lines; all named in the same way."""
    if len(some) == 1:
        return some[0]
    index: dict[str, int] = {}
    of = [np.array([index.setdefault(name, len(index)) for name in each.named.names])[each.named.of] for each in some]
    begins, receive = [int(each.lines[0]) for each in some], [each.receive_line for each in some]

    def receive_line(line: int) -> Received:
        return receive[bisect_right(begins, line) - 1](line)

    ids = [each.event_ids for each in some if each.event_ids is not None]
    assert len(ids) in (0, len(some)), "all are named by their transactions, or none is"
    return Transactions(
        source=some[0].source,
        lines=np.concatenate([each.lines for each in some]),
        event_ids=stacked(ids) if ids else None,
        facts=Facts.joined([each.facts for each in some]),
        named=Named(list(index), np.concatenate(of)),
        event_hashes=np.concatenate([each.event_hashes for each in some]),
        hashes=np.concatenate([each.hashes for each in some]),
        fingerprints=np.concatenate([each.fingerprints for each in some]),
        told=json.joined([each.told for each in some]),
        receive_line=receive_line,
    )


def finished(steps: Generator[None, None, T]) -> T:
    """What is made bit by bit, at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: T = end.value
            return made


def transactions_of(
    source: str,
    lines: Sequence[int],
    event_ids: Sequence[str] | None,
    columns: Columns,
    now: datetime,
    receive_line: Callable[[int], Received],
) -> tuple[Transactions | None, list[int]]:
    """Of rows of a file, whose values are of the fields' types; and the indexes of those that break a rule.

    Without `event_ids` each is named by its transaction.
    """
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
        lines, event_ids = [lines[at] for at in kept], event_ids and [event_ids[at] for at in kept]
        columns = {name: [column[at] for at in kept] for name, column in columns.items()}
    ids = None if event_ids is None else padded(texts(event_ids))
    return finished(making(source, numbers(lines), ids, facts_of(columns), receive_line)), sorted(wrong)


def transactions_of_facts(
    source: str, lines: Sequence[int], facts: Facts, now: datetime, receive_line: Callable[[int], Received]
) -> tuple[Transactions | None, list[int]]:
    """As `transactions_of`, of what is held to the event's declared rules already, each named by its transaction."""
    days, which = np.unique(facts.day, return_inverse=True)
    is_wrong = np.array([not is_possible(date.fromordinal(day), False, now) for day in days.tolist()], np.bool_)[which]
    if not is_name(source):
        is_wrong[:] = True
    kept, at = np.flatnonzero(~is_wrong), numbers(lines)
    if len(kept) < len(at):
        at, facts = at[kept], facts.take(kept)
    wrong = np.flatnonzero(is_wrong).tolist()
    return (finished(making(source, at, None, facts, receive_line)) if len(kept) else None), wrong


def facts_of(columns: Columns) -> Facts:
    stated, states = nullable_numbers(columns["balance_after_minor"])
    return Facts(
        account_id=padded(texts(columns["account_id"])),
        transaction_id=padded(texts(columns["transaction_id"])),
        day=numbers([day.toordinal() for day in columns["booked_on"]]),
        sequence=numbers(columns["sequence"]),
        amount=numbers(columns["amount_minor"]),
        currency=choices(columns["currency"]),
        kind=choices(columns["kind"]),
        stated=stated,
        states=states,
        bank=padded(choices(columns["counterparty_bank"])),
    )


def _named(account_ids: Column) -> Named:
    _, first, of = np.unique(hashes_of_columns(account_ids), return_index=True, return_inverse=True)
    words = words_of(account_ids)
    if not all(bool((word == word[first][of]).all()) for word in words):  # two names of one hash
        assert isinstance(account_ids.values, np.ndarray), "an array of items"
        _, first, of = np.unique(items(account_ids), return_index=True, return_inverse=True)
    return Named([name.decode() for name in items(account_ids.take(first)).tolist()], of)


def items(texts: Column) -> npt.NDArray[np.bytes_]:
    """A column's texts, without the zeros behind what is shorter."""
    assert isinstance(texts.values, np.ndarray), "an array of items"
    return texts.values.view(f"S{texts.values.itemsize}")


def texts_in(texts: Column, at: Ints | Sequence[int]) -> list[str]:
    """Some of a column's texts."""
    at = np.asarray(at, np.int64)
    return [item.decode() for item in items(texts.take(at)).tolist()]


def written_as_events(facts: Facts) -> tuple[list[bytes], Written]:
    """Each as its event is encoded, whatever came with it; and what of that a customer's event says, too."""
    before: list[bytes | Part] = [b'{"account_id":"', json.texts(facts.account_id), b'","transaction_id":"']
    before += [json.texts(facts.transaction_id), b'","booked_on":"', json.dates(facts.day), b'"']
    if (later := facts.sequence != 0).any():
        sequence = json.integers(facts.sequence).where(later)
        before += [json.literal(b',"sequence":', later), sequence]
    told: list[bytes | Part] = [b',"amount_minor":', json.integers(facts.amount), b',"currency":"']
    told += [json.texts(facts.currency), b'","kind":"', json.texts(facts.kind), b'"']
    if (states := facts.states).any():
        stated = json.integers(facts.stated).where(states)
        told += [json.literal(b',"balance_after_minor":', states), stated]
    after: list[bytes | Part] = [b"}"]
    if (is_external := facts.is_external).any():
        key, end = (json.literal(text, is_external) for text in (b',"counterparty_bank":"', b'"'))
        after = [key, json.texts(facts.bank), end, b"}"]
    whole = json.written([*before, *told, *after], len(facts.day))
    events = whole.rows()
    for at in _with_escapes(facts):
        events[at] = _encoded(facts, at)
    begins, ends = json.lengths(before), json.lengths(after)
    return events, Written(whole.buffer, whole.at + begins, whole.length - begins - ends)


def _with_escapes(facts: Facts) -> list[int]:
    odd = np.zeros(len(facts.day), np.bool_)
    for column in (facts.account_id, facts.transaction_id, facts.bank):
        special = json.has_special(column)
        if special is not None:
            odd |= special
    return np.flatnonzero(odd).tolist()


def _encoded(facts: Facts, at: int) -> bytes:
    one = facts.take(np.array([at]))
    said: dict[str, Any] = {
        "account_id": texts_in(one.account_id, _FIRST)[0],
        "transaction_id": texts_in(one.transaction_id, _FIRST)[0],
        "booked_on": date.fromordinal(int(one.day[0])),
        "sequence": int(one.sequence[0]) or None,
        "amount_minor": int(one.amount[0]),
        "currency": texts_in(one.currency, _FIRST)[0],
        "kind": texts_in(one.kind, _FIRST)[0],
        "balance_after_minor": int(one.stated[0]) if one.states[0] else None,
        "counterparty_bank": texts_in(one.bank, _FIRST)[0] if one.is_external[0] else None,
    }
    return msgspec.json.encode({name: value for name, value in said.items() if value is not None})


_FIRST = np.zeros(1, np.int64)


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
