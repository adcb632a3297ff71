"""What the filter of seen ids must never do, and what it may."""

import numpy as np
import pytest

from shared.messaging.seen import Seen
from tests.messaging.columns import hashes_of


def ids(first: int, count: int) -> list[str]:
    return [f"T{number}" for number in range(first, first + count)]


def warm(capacity: int = 100_000) -> Seen:
    return Seen(capacity, distrusted=0)


def test_what_was_seen_is_never_denied() -> None:
    seen = warm()
    hashes = hashes_of(ids(0, 100_000))
    for first in range(0, 100_000, 10_000):
        seen.add(hashes[first : first + 10_000])
    assert seen.doubtful(hashes).all()


def test_few_that_were_not_seen_are_doubted() -> None:
    seen = warm()
    seen.add(hashes_of(ids(0, 50_000)))
    seen.add(hashes_of(ids(50_000, 50_000)))
    seen.add(hashes_of(ids(100_000, 100_000)))
    assert seen.doubtful(hashes_of(ids(1_000_000, 100_000))).mean() < 0.03


def test_all_of_an_id_that_a_batch_has_twice_are_doubted() -> None:
    hashes = hashes_of(["A", "B", "A", "C"], ["1", "1", "1", "1"])
    assert warm().doubtful(hashes).tolist() == [True, False, True, False]
    assert not warm().met(hashes).any(), "which nobody needs to look up"


def test_the_parts_of_an_id_are_told_apart() -> None:
    hashes = hashes_of(["ab", "a", "b", "a"], ["c", "bc", "a", "b"])
    assert len(set(hashes.tolist())) == 4


def test_everything_is_doubted_by_a_process_that_has_just_begun() -> None:
    assert Seen().doubtful(hashes_of(ids(0, 10))).all()


def test_everything_is_doubted_for_a_while_after_it_missed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Seen, "DISTRUSTED", 25)
    seen = warm()
    seen.distrust()
    batches = [bool(seen.doubtful(hashes_of(ids(10 * n, 10))).all()) for n in range(4)]
    assert batches == [True, True, True, False]


def test_its_memory_is_bounded_and_it_forgets_the_oldest_first() -> None:
    seen = warm(capacity=10_000)
    size = seen._words.nbytes + seen._older.nbytes
    for first in range(0, 100_000, 1_000):
        seen.add(hashes_of(ids(first, 1_000)))
    assert seen._words.nbytes + seen._older.nbytes == size
    assert seen.doubtful(hashes_of(ids(90_000, 10_000))).all()
    assert seen.doubtful(hashes_of(ids(0, 10_000))).mean() < 0.2


def test_a_batch_greater_than_all_that_it_remembers_is_remembered() -> None:
    seen = warm(capacity=100)
    hashes = hashes_of(ids(0, 1_000))
    seen.add(hashes)
    assert np.all(seen.doubtful(hashes))
