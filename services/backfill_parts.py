"""Records of a file on their way into one transaction: those that are all right by columns, others one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import NamedTuple

import structlog

from feeds.files.facts import Chunk, Envelope, Fact, Item, Misfit, PostedColumns, PostedRows
from feeds.rows import FeedRefused, RowFault
from services.customer.use_cases.receiving import Received, Unreadable, read_cloud_event, receive, receive_fact
from services.customer.use_cases.transaction_columns import (
    Facts,
    Transactions,
    joined,
    transactions_of,
    transactions_of_facts,
)
from services.customer.use_cases.transaction_ids import can_name
from shared.clock import Clock
from shared.messaging.dead_letters import HANDLER_FAILED
from shared.messaging.faults import name_of

log = structlog.get_logger(__name__)


class Arrivals(NamedTuple):
    """Records as they are received: by columns, and the others; and when."""

    transactions: Transactions | None
    others: Sequence[Item | None]
    now: datetime


@dataclass(frozen=True)
class Block:
    """Records of a file, after its `first`, that were read at once; `arrivals` where they were received ahead."""

    first: int
    items: Sequence[Item | None]
    arrivals: Arrivals | None = None

    def goes_with(self, other: "Block") -> bool:
        """Whether both may be of one transaction: what is received by columns is one batch, whose ids are alike."""
        some = [each.arrivals.transactions for each in (self, other) if each.arrivals and each.arrivals.transactions]
        return len({each.event_ids is None for each in some}) <= 1


@dataclass(frozen=True)
class Part:
    """Consecutive blocks: what one transaction loads. `arrivals` are those of all of them, where they are known."""

    blocks: Sequence[Block]
    share: float
    """How much of the file is read when they are, from 0 to 1."""
    arrivals: Arrivals | None = None

    def __len__(self) -> int:
        return sum(len(block.items) for block in self.blocks)

    @property
    def first(self) -> int:
        return self.blocks[0].first

    @property
    def end(self) -> int:
        return self.first + len(self)

    def halves(self) -> "list[Part]":
        """Between two blocks, or in the middle of the only one."""
        if len(self.blocks) > 1:
            at = len(self.blocks) // 2
            return [Part(self.blocks[:at], self.share), Part(self.blocks[at:], self.share)]
        (block,) = self.blocks
        at = len(block.items) // 2
        first, second = Block(block.first, block.items[:at]), Block(block.first + at, block.items[at:])
        return [Part([first], self.share), Part([second], self.share)]

    def of_at_most(self, rows: int) -> "list[Part]":
        if len(self) <= max(rows, 1):
            return [self]
        return [each for half in self.halves() for each in half.of_at_most(rows)]

    def parked(self, file: str, fault: str) -> "Part":
        """With every row a fault, for what cannot be loaded whatever is tried."""
        faults = [
            Block(
                block.first,
                [item and RowFault(file, item.line, HANDLER_FAILED, fault) for item in block.items],
            )
            for block in self.blocks
        ]
        return Part(faults, self.share)


class Receiving:
    """How the records of a file with this source are received."""

    def __init__(self, source: str, clock: Clock) -> None:
        self._source = source
        self._clock = clock

    def arrivals(self, part: Part) -> Arrivals:
        if part.arrivals is not None:
            return part.arrivals
        now = self._clock()
        some = [block.arrivals or self.by_columns(block.items, now) for block in part.blocks]
        transactions = [each.transactions for each in some if each.transactions is not None]
        others = some[0].others if len(some) == 1 else [*chain.from_iterable(each.others for each in some)]
        return Arrivals(joined(transactions) if transactions else None, others, now)

    def by_columns(self, items: Sequence[Item | None], now: datetime) -> Arrivals:
        if not isinstance(items, (PostedRows, PostedColumns)):
            return Arrivals(None, items, now)
        first = items.lines[0]
        by_line = items.lines if items.lines != range(first, first + len(items)) else None

        def receive_line(line: int) -> Received:
            received = self.one(items[line - first if by_line is None else by_line.index(line)], now)
            assert isinstance(received, Received), "it has an id"
            return received

        if isinstance(items, PostedColumns):
            facts = Facts(**items.columns._asdict())
            transactions, wrong = transactions_of_facts(self._source, items.lines, facts, now, receive_line)
        else:
            accounts, ids = items.columns["account_id"], items.columns["transaction_id"]
            event_ids = None if can_name(accounts, ids) else items.event_ids
            transactions, wrong = transactions_of(
                self._source, items.lines, event_ids, items.columns, now, receive_line
            )
        return Arrivals(transactions, [items[at] for at in wrong], now)

    def one(self, item: Item, now: datetime) -> Received | Unreadable:
        source = self._source
        match item:
            case Fact():
                when = item.occurred_at or now
                return receive_fact(source, item.event_id, when, item.event, received_at=now, line=item.line)
            case Envelope():
                return read_cloud_event(item.payload, received_at=now, line=item.line)
            case Misfit():
                return receive(source, item.event_id, item.type, now, item.data, received_at=now, line=item.line)
            case RowFault():
                return Unreadable(item.code, "", item.detail, item.line)
        raise TypeError(type(item))


class Ahead:
    """Reads and receives a file's blocks, and puts as many together as one transaction takes: `most` of now."""

    def __init__(self, file: str, receiving: Receiving, clock: Clock, most: int) -> None:
        self._file = file
        self._receiving = receiving
        self._clock = clock
        self.most = most

    def parts(self, source: Iterator[Chunk]) -> Iterator[Part]:
        blocks: list[Block] = []
        share = 0.0
        try:
            for chunk in source:
                block = self._block(chunk)
                held = sum(len(each.items) for each in blocks)
                if blocks and (held + len(block.items) > self.most or not all(map(block.goes_with, blocks))):
                    yield self._part(blocks, share)
                    blocks = []
                blocks.append(block)
                share = chunk.share
        except FeedRefused:
            if blocks:
                yield self._part(blocks, share)  # what lies before it is all right
            raise
        if blocks:
            yield self._part(blocks, share)

    def _block(self, chunk: Chunk) -> Block:
        arrivals = None
        if len(chunk.items) <= self.most:
            try:
                arrivals = self._receiving.by_columns(chunk.items, self._clock())
            except Exception as fault:  # noqa: BLE001, RUF100 - it fails again where it is loaded, which looks for the row
                log.warning("preparing_fails", file=self._file, fault=name_of(fault))
        return Block(chunk.first, chunk.items, arrivals)

    def _part(self, blocks: Sequence[Block], share: float) -> Part:
        if any(block.arrivals is None for block in blocks):
            return Part(blocks, share)
        whole = self._receiving.arrivals(Part(blocks, share))
        return Part([Block(block.first, block.items) for block in blocks], share, whole)  # else all is there twice
