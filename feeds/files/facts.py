"""What a row of a file is: an event with an id of its own, something that is none but has one, or a fault."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias, overload

import msgspec
import numpy as np

from feeds.rows import RowFault
from shared.columns import Array, Column
from shared.events.base import concrete_events
from shared.events.corebanking import (
    AccountRecorded,
    BranchRecorded,
    BusinessDayClosed,
    ComplaintRecorded,
    ContactRecorded,
    CoreBankingEvent,
    LifeEventRecorded,
    ManagerRecorded,
    PartyRecorded,
    SurveyAnswered,
    TransactionKind,
    TransactionPosted,
    TransactionReversed,
)
from shared.masking import masked


class Fact(msgspec.Struct, eq=False, gc=False):
    """A row that is an event. `line` counts the file's lines from 1, of a Parquet file its rows."""

    line: int
    event_id: str
    occurred_at: datetime | None
    event: CoreBankingEvent


@masked
class Misfit(msgspec.Struct, eq=False):
    """A row that names what it is about but is no event: the ingestion parks it, under its id."""

    line: int
    event_id: str
    type: str
    data: bytes


@masked
class Envelope(msgspec.Struct, eq=False, gc=False):
    """A line that is a CloudEvent by itself, or should be."""

    line: int
    payload: bytes


Item: TypeAlias = Fact | Misfit | Envelope | RowFault


class PostedRows(Sequence["Item | None"]):
    """Rows that are all right and all transactions that were posted, by the event's fields. As items they are facts."""

    def __init__(self, lines: Sequence[int], columns: Mapping[str, Sequence[Any]]) -> None:
        """A column for each field, in the event's order; of `kind` its values."""
        self.lines = lines
        self.columns = columns

    @property
    def event_ids(self) -> Sequence[str]:
        type_name = TransactionPosted.TYPE
        accounts, transactions = self.columns["account_id"], self.columns["transaction_id"]
        if "/" in "".join(accounts) or "/" in "".join(transactions):
            return list(map(partial(id_of, type_name), accounts, transactions))
        return [f"{type_name}:{account}/{one}" for account, one in zip(accounts, transactions, strict=True)]

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, index: int) -> Fact: ...
    @overload
    def __getitem__(self, index: slice) -> "PostedRows": ...
    def __getitem__(self, index: int | slice) -> "Fact | PostedRows":
        if isinstance(index, slice):
            return PostedRows(self.lines[index], {name: column[index] for name, column in self.columns.items()})
        values = {name: column[index] for name, column in self.columns.items()}
        event = TransactionPosted(**{**values, "kind": TransactionKind(values["kind"])})
        return Fact(self.lines[index], id_of(event.TYPE, event.account_id, event.transaction_id), None, event)


class PostedValues(NamedTuple):
    """Texts as arrays, days as ordinals, 0 for a balance that is not stated; `states` is where one is."""

    account_id: Column
    transaction_id: Column
    day: Array
    sequence: Array
    amount: Array
    currency: Column
    kind: Column
    stated: Array
    states: Array
    bank: Column


class PostedColumns(Sequence["Item | None"]):
    """As PostedRows, of transactions that are named by their ids, and without an object for any of their values."""

    def __init__(self, lines: range, columns: PostedValues) -> None:
        self.lines = lines
        self.columns = columns

    def __len__(self) -> int:
        return len(self.lines)

    @overload
    def __getitem__(self, index: int) -> Fact: ...
    @overload
    def __getitem__(self, index: slice) -> "PostedColumns": ...
    def __getitem__(self, index: int | slice) -> "Fact | PostedColumns":
        if isinstance(index, slice):
            which = np.arange(len(self))[index]
            some = (each.take(which) if isinstance(each, Column) else each[which] for each in self.columns)
            return PostedColumns(self.lines[index], PostedValues._make(some))
        one: Any = PostedValues._make(
            _text_of(each, index) if isinstance(each, Column) else each[index].item() for each in self.columns
        )
        event = TransactionPosted(
            account_id=one.account_id,
            transaction_id=one.transaction_id,
            booked_on=date.fromordinal(one.day),
            sequence=one.sequence,
            amount_minor=one.amount,
            currency=one.currency,
            kind=TransactionKind(one.kind),
            balance_after_minor=one.stated if one.states else None,
            counterparty_bank=one.bank,
        )
        return Fact(self.lines[index], id_of(event.TYPE, event.account_id, event.transaction_id), None, event)


def _text_of(column: Column, index: int) -> Any:
    if column.lengths is not None and column.lengths[index] < 0:
        return None
    value = bytes(column.values[index])
    return (value if column.lengths is None else value[: column.lengths[index]]).decode()


@dataclass(frozen=True)
class Chunk:
    """Consecutive records of a file, after its `first`; each is an item, a blank one is None.

    `share` is how much of the file is read when they are, from 0 to 1.
    """

    first: int
    items: Sequence[Item | None]
    share: float


def in_place(items: Sequence[Item | None], lines: Sequence[int]) -> Sequence[Item | None]:
    """One item for each of the lines: None where nothing is."""
    if isinstance(items, PostedRows) and items.lines == lines:
        return items
    if len(items) == len(lines) and all(
        item is not None and item.line == line for item, line in zip(items, lines, strict=True)
    ):
        return items
    found = {item.line: item for item in items if item is not None}
    return [found.get(line) for line in lines]


IDENTITY: dict[type[CoreBankingEvent], tuple[str, ...]] = {
    BranchRecorded: ("branch_id", "revision"),
    ManagerRecorded: ("manager_id", "revision"),
    PartyRecorded: ("party_id", "revision"),
    AccountRecorded: ("account_id", "revision"),
    TransactionPosted: ("account_id", "transaction_id"),
    TransactionReversed: ("account_id", "transaction_id"),
    ContactRecorded: ("contact_id",),
    ComplaintRecorded: ("complaint_id", "revision"),
    SurveyAnswered: ("survey_id",),
    LifeEventRecorded: ("life_event_id",),
    BusinessDayClosed: ("business_date",),
}
"""What tells one fact from another, in the order in which a history is loaded: what is named before what names it."""

TYPES: dict[str, type[CoreBankingEvent]] = {event_type.TYPE: event_type for event_type in IDENTITY}


def types_without_identity() -> set[str]:
    """Event types that no row of a file can become, because nobody said what tells one from another."""
    return {event.TYPE for event in concrete_events(CoreBankingEvent)} - TYPES.keys()


def id_of(type_name: str, *parts: str) -> str:
    """The id of the fact that these tell from all others of its type: the same in every file and every time."""
    joined = "/".join(parts)
    if joined.count("/") >= len(parts) or len(joined) > MOST_OF_AN_ID:
        joined = sha256(msgspec.json.encode(parts)).hexdigest()
    return f"{type_name}:{joined}"


MOST_OF_AN_ID = 150
"""Characters after the type; the ingestion takes ids of 200."""


def namer(event_type: type[CoreBankingEvent]) -> Callable[[Any], str]:
    """`id_of` for events of one type."""
    type_name, fields = event_type.TYPE, IDENTITY[event_type]
    if fields == ("account_id", "transaction_id"):
        # Nearly every row of a history is a transaction: no call and no tuple for it.
        def name_transaction(event: Any) -> str:
            account_id, transaction_id = event.account_id, event.transaction_id
            if "/" in account_id or "/" in transaction_id:
                return id_of(type_name, account_id, transaction_id)
            return f"{type_name}:{account_id}/{transaction_id}"

        return name_transaction
    return lambda event: id_of(type_name, *[str(getattr(event, field)) for field in fields])
