"""Which partition a key belongs to: Kafka's own rule, so that it is the same on both logs and for every client."""

import struct
from functools import lru_cache


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(key: bytes) -> int:
    """MurmurHash2 with the seed of Kafka's Java client (org.apache.kafka.common.utils.Utils), as 32 bits."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    words = len(key) // 4
    for word in struct.unpack_from(f"<{words}I", key):
        k = word * m & mask
        h = (h * m & mask) ^ ((k ^ (k >> 24)) * m & mask)
    if rest := key[words * 4 :]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)
