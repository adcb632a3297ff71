"""Ids: UUIDv7, so that rows written together lie together in an index."""

import hashlib
from os import urandom
from time import time_ns
from uuid import UUID

import numpy as np
from uuid_utils.compat import uuid7

__all__ = ["derived_id", "new_id", "new_ids"]


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
