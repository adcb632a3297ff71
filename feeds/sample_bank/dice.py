"""Chance from a seed: the same bytes on every machine and every supported Python.

Of `random.Random` only `random()` is used, whose sequence for a seed Python promises to keep, and on floats only
the four operations that IEEE 754 defines to the last bit.
"""

import hashlib
from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

Quantiles = Sequence[int]
"""Amounts in minor units that cut a distribution into equally likely parts, least and greatest included."""


class Dice:
    """A stream of chance of its own for whatever it is named after."""

    __slots__ = ("roll",)

    def __init__(self, *name: str | int) -> None:
        digest = hashlib.sha256("/".join(str(part) for part in name).encode()).digest()
        self.roll = Random(int.from_bytes(digest[:16], "big")).random  # noqa: S311 - a sample, not a secret

    def chance(self, probability: float) -> bool:
        return self.roll() < probability

    def between(self, least: int, greatest: int) -> int:
        """Both included."""
        return least + int(self.roll() * (greatest - least + 1))

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[int(self.roll() * len(choices))]

    def weighted(self, choices: Sequence[tuple[T, float]]) -> T:
        """Weights that add up to 1."""
        rest = self.roll()
        for choice, weight in choices:
            rest -= weight
            if rest < 0:
                return choice
        return choices[-1][0]

    def times(self, expected: float) -> int:
        """How often something happens that is expected so often: the two whole numbers around it."""
        whole = int(expected)
        return whole + (self.roll() < expected - whole)

    def shuffle(self, things: list[T]) -> None:
        for last in range(len(things) - 1, 0, -1):
            other = self.between(0, last)
            things[last], things[other] = things[other], things[last]

    def amount(self, quantiles: Quantiles) -> int:
        position = self.roll() * (len(quantiles) - 1)
        part = int(position)
        low, high = quantiles[part], quantiles[part + 1]
        return low + int((position - part) * (high - low))

    def share(self, least: float, greatest: float) -> float:
        return least + self.roll() * (greatest - least)
