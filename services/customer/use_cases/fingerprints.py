"""Fingerprints of the core's events, by which one is known when it comes again: keyed, since receipts outlive erasure.

Of a digest alone, whoever reads the table and knows all but a little of what the core said could try the rest. So the
64 bits of the digest are put through AES-256, a pseudo-random function, under a key of the service's own.
A database that had receipts before it had that key has none: there digests stay what events are known by.
"""

from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.receiving import Received
from services.customer.use_cases.transaction_columns import Ints
from shared.sealing.data_keys import keys_of

FINGERPRINTS = "fingerprints"
"""The service's key for them."""

# Both in one snapshot: a first receipt commits together with the key.
_IS_KEYED = text(
    "select exists (select from service_key where name = 'fingerprints')"
    " or not exists (select from received_event) as is_keyed"
)


class Fingerprints:
    def __init__(self, key: bytes | None) -> None:
        # Each block is encrypted by itself, on purpose: equal events have equal fingerprints.
        self._cipher = Cipher(algorithms.AES(key), modes.ECB()) if key else None  # noqa: S305 - as the line above says  # nosec B305

    def of(self, digests: Ints) -> Ints:
        if self._cipher is None:
            return digests
        blocks = np.zeros((len(digests), 2), "<i8")
        blocks[:, 0] = digests
        return np.frombuffer(self._cipher.encryptor().update(blocks.tobytes()), "<i8")[::2].astype(np.int64)

    def give(self, received: Iterable[Received]) -> None:
        events = list(received)
        fingerprints = self.of(np.array([event.digest for event in events], np.int64)).tolist()
        for event, fingerprint in zip(events, fingerprints, strict=True):
            event.fingerprint = fingerprint


async def keyed_fingerprints(session: AsyncSession) -> Fingerprints:
    """As the session's database knows events."""
    keys = keys_of(session)
    key = await keys.find_own(session, FINGERPRINTS)
    if key is None and await session.scalar(_IS_KEYED):
        key = await keys.make_own(session, FINGERPRINTS)
    return Fingerprints(key)
