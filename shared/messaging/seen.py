"""Which events were perhaps seen before, in memory: only those need to be looked up.

A blocked Bloom filter (Putze, Sanders and Singler 2007): an id sets BITS bits of one 64-bit word. It never denies an
id that it was told, and doubts one in a hundred that it was not. It may know less than the database: what it knows is
only what is worth not looking up, and the database's unique index is what holds. `rbloom` does the same id by id at
0.5 µs each; a batch at once takes 0.1.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from psycopg.errors import UniqueViolation
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from shared.byte_slices import Bools, hashed, mixed
from shared.columns import Column, words_of
from shared.messaging.dead_letters import forget_parked
from shared.messaging.outbox import forget_pending, pending_events

T = TypeVar("T")

Hashes = npt.NDArray[np.uint64]
BITS = 4
IDS_A_WORD = 4


def hashes_of_columns(*parts: Column) -> Hashes:
    """64 bits for each id, of which `parts` are texts that are arrays."""
    hashes = np.zeros(len(parts[0].values), np.uint64)
    for part in parts:
        hashes = mixed(hashes ^ hashed(*words_of(part)))
    return hashes


def repeated(hashes: Hashes) -> Bools:
    """All those of a batch's ids that it has twice."""
    in_order = np.sort(hashes)
    twice = in_order[1:][in_order[1:] == in_order[:-1]]
    if not len(twice):
        return np.zeros(len(hashes), np.bool_)
    same: Bools = twice[np.minimum(np.searchsorted(twice, hashes), len(twice) - 1)] == hashes
    return same


class Seen:
    """Remembers the last `capacity` ids, and up to as many before them, in 4 bytes each.

    It trusts itself when it has seen DISTRUSTED ids: what comes twice comes soon again, as a rule, and a process that
    has just begun knows nothing. It does so again after it did not know one that the database had.
    """

    DISTRUSTED = 500_000

    def __init__(self, capacity: int = 4_000_000, *, distrusted: int = DISTRUSTED) -> None:
        """`distrusted` is how many ids are doubted first: 0 where nothing was ever written."""
        self._shift = np.uint64(64 - max(1, (capacity // IDS_A_WORD - 1).bit_length()))
        self._capacity = capacity
        self._count = 0
        self._words, self._older = self._empty(), self._empty()
        self._distrusted = distrusted

    def doubtful(self, hashes: Hashes) -> Bools:
        """Which of a batch's ids are perhaps not new: those perhaps seen before, and all that the batch has twice."""
        return self.met(hashes) | repeated(hashes)

    def met(self, hashes: Hashes) -> Bools:
        """Which of a batch's ids must be looked up: those perhaps seen before it."""
        if self._distrusted > 0:
            self._distrusted -= len(hashes)
            return np.ones(len(hashes), np.bool_)
        at, bits = self._places(hashes)
        seen: Bools = ((self._words[at] & bits) == bits) | ((self._older[at] & bits) == bits)
        return seen

    def add(self, hashes: Hashes) -> None:
        """What is added and then not committed is only doubted in vain."""
        if self._count + len(hashes) > self._capacity and self._count:
            self._older, self._words, self._count = self._words, self._empty(), 0
        np.bitwise_or.at(self._words, *self._places(hashes))
        self._count += len(hashes)

    def distrust(self) -> None:
        """An id that it did not know was in the database: of the past, or another's. More of them may follow."""
        self._distrusted = self.DISTRUSTED

    def _empty(self) -> Hashes:
        return np.zeros(1 << (64 - int(self._shift)), np.uint64)

    def _places(self, hashes: Hashes) -> tuple[npt.NDArray[np.int64], Hashes]:
        bits = np.zeros(len(hashes), np.uint64)
        for number in range(BITS):
            bits |= np.uint64(1) << ((hashes >> np.uint64(6 * number)) & np.uint64(63))
        return (hashes >> self._shift).astype(np.int64), bits


async def write_once(session: AsyncSession, write: Callable[[], Awaitable[T]], *filters: Seen) -> T:
    """What `write` returns, which looks up only what the filters doubt.

    When a unique index has what it took for new, all that it wrote and published is taken back, and it writes again
    looking up everything. Raises what it raises then.
    """
    published = pending_events(session)
    try:
        async with session.begin_nested():
            return await write()
    except (UniqueViolation, IntegrityError) as fault:
        if not isinstance(getattr(fault, "orig", fault), UniqueViolation):
            raise
    for each in filters:
        each.distrust()
    forget_pending(session, published)
    forget_parked(session)
    return await write()
