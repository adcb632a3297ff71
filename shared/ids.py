"""Ids: UUIDv7, so that rows written together lie together in an index."""

import hashlib
from collections.abc import Iterable
from os import urandom
from time import time_ns
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
from uuid_utils.compat import uuid7

Array = npt.NDArray[Any]

__all__ = ["derived_id", "derived_ids", "new_id", "new_ids", "written_ids"]


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562) of now."""
    return uuid7()


def new_ids(count: int) -> bytes:
    """As many UUIDv7s of now, 16 bytes each."""
    milliseconds = time_ns() // 1_000_000
    ids = np.zeros(count, [("high", ">u8"), ("low", ">u8")])
    random = np.frombuffer(urandom(10 * count), np.uint8)
    low = random[: 8 * count].view(np.uint64)
    rand_a = random[8 * count :].view(np.uint16).astype(np.uint64)
    ids["high"] = np.uint64(milliseconds << 16 | 0x7000) | (rand_a & np.uint64(0xFFF))
    ids["low"] = (low >> np.uint64(2)) | np.uint64(0b10 << 62)
    return ids.tobytes()


def derived_id(cause: UUID, step: str) -> UUID:
    """The id of what `step` made of `cause`: doing it again gives the same id.

    A UUIDv7 with the cause's 48-bit timestamp, so that it sorts beside its cause, and 74 bits of
    SHA-256 over the cause and the step in place of the random ones.
    """
    digest = int.from_bytes(hashlib.sha256(cause.bytes + step.encode()).digest()[:10], "big")
    timestamp = cause.int >> 80
    rand_a, rand_b = digest >> 68, digest & ((1 << 62) - 1)
    return UUID(int=(timestamp << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b)


def derived_ids(causes: Array, caused: Iterable[bytes]) -> Array:
    """`derived_id` of each cause: of 16 bytes, as the ids are; `caused` are its bytes with the step's behind them."""
    digests = b"".join([hashlib.sha256(each).digest() for each in caused])
    digest = np.frombuffer(digests, [("rand_a", ">u2"), ("rand_b", ">u8"), ("rest", "V22")])
    high = np.ascontiguousarray(causes).view(">u8")[::2]
    ids = np.empty(len(digest), [("high", ">u8"), ("low", ">u8")])
    ids["high"] = (high & np.uint64(2**64 - 2**16)) | np.uint64(0x7000) | (digest["rand_a"] >> np.uint16(4))
    ids["low"] = (digest["rand_b"] & np.uint64(2**62 - 1)) | np.uint64(0b10 << 62)
    return ids.view("V16")


_HEX = np.frombuffer(bytes(range(256)).hex().encode(), "V2")


def written_ids(ids: Array) -> Array:
    """UUIDs of 16 bytes each as they are written, in 36."""
    digits = _HEX[np.ascontiguousarray(ids).view(np.uint8)].view(np.uint8).reshape(-1, 32)
    written = np.full((len(digits), 36), ord("-"), np.uint8)
    for first, last, dashes in ((0, 8, 0), (8, 12, 1), (12, 16, 2), (16, 20, 3), (20, 32, 4)):
        written[:, first + dashes : last + dashes] = digits[:, first:last]
    return written.view("V36")[:, 0]
