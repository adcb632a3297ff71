"""Searching what is sealed: keyed hashes of its parts, as rows of (token, customer), compared for equality only.

What they leak to who has the rows but not the key: how many customers share a part, and which do; for n-grams that
allows guessing frequent names by frequency analysis. Nothing is learned of a value by who has no rows to compare.
The key is one for the service (HMAC-SHA-256, cut to 128 bits) and not the customer's: else nobody could be found.
"""

import hmac
from collections.abc import Iterable, Iterator

TOKEN_BYTES = 16
START = "\x02"
"""Stands before each word, so that its beginning can be told from its middle."""
LONGEST_GRAM = 3


class BlindIndex:
    """Tokens under one key. `field` keeps a phone's digits apart from the same digits of a document."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a key under 32 bytes."""
        if len(key) < 32:
            raise ValueError("the key of the blind index has under 32 bytes")
        self._key = key

    def tokens(self, field: str, parts: Iterable[str]) -> set[bytes]:
        return {self.token(field, part) for part in parts}

    def token(self, field: str, part: str) -> bytes:
        return hmac.digest(self._key, f"{field}\0{part}".encode(), "sha256")[:TOKEN_BYTES]


def grams(name: str) -> set[str]:
    """What a name is found by: of each word every run of up to three characters, the beginnings marked.

    `name` is normalised: case folded, words one space apart. A Chinese name is one word, each character of it a gram.
    """
    sizes = range(1, LONGEST_GRAM + 1)
    return {gram for word in name.split() for size in sizes for gram in _runs(START + word, size)} - {START}


def asked_grams(query: str) -> set[str]:
    """What a name must have so that it may contain the query: its longest runs. One character asks for a beginning.

    Who has them all is a candidate: that the runs are next to each other the opened name must show.
    """
    return set().union(*(_asked(word) for word in query.split())) if query.strip() else set()


def _asked(word: str) -> set[str]:
    if len(word) == 1:
        return {START + word if word.isascii() else word}
    return set(_runs(word, min(len(word), LONGEST_GRAM)))


def _runs(word: str, size: int) -> Iterator[str]:
    return (word[first : first + size] for first in range(len(word) - size + 1))
