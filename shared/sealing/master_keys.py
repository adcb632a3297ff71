"""Master keys wrap data keys. They are read from the environment or a file, or stay in a bank's key-management service.

Of several master keys the first one wraps; the others only unwrap what they wrapped. So a master key is rotated by
putting a new one before it, wrapping the data keys again (`branchline keys rewrap`) and taking the old one away:
what the data keys seal is not touched.
"""

import secrets
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.keyring import MasterKeyring

KEY_BYTES = 32
NONCE_BYTES = 12


class WrappedKey(NamedTuple):
    """A data key as it is kept: only the master key of this id opens it."""

    master_key_id: str
    wrapped: bytes


class MasterKeyUnknown(Exception):
    """A data key was wrapped by a master key that is not configured here."""


class NotOpened(Exception):
    """What was sealed was changed, or belongs to another key, another customer or another field."""


class MasterKeys(Protocol):
    """What a key-management service offers. Each data key is bound to a context: with another it does not open."""

    @property
    def current_id(self) -> str:
        """Which master key wraps now."""

    async def wrap(self, keys: Sequence[tuple[bytes, bytes]]) -> list[WrappedKey]:
        """Wraps (data key, context) pairs with the current master key."""

    async def unwrap(self, wrapped: Sequence[tuple[WrappedKey, bytes]]) -> list[bytes]:
        """The data keys of (wrapped key, context) pairs. Raises MasterKeyUnknown, NotOpened."""


class LocalMasterKeys:
    """AES-256-GCM with master keys that this process holds."""

    def __init__(self, keyring: MasterKeyring) -> None:
        self._current_id = keyring.current
        self._ciphers = {name: AESGCM(key) for name, key in keyring.keys.items()}

    @property
    def current_id(self) -> str:
        return self._current_id

    async def wrap(self, keys: Sequence[tuple[bytes, bytes]]) -> list[WrappedKey]:
        cipher = self._ciphers[self._current_id]
        wrapped = []
        for key, context in keys:
            nonce = secrets.token_bytes(NONCE_BYTES)
            wrapped.append(WrappedKey(self._current_id, nonce + cipher.encrypt(nonce, key, context)))
        return wrapped

    async def unwrap(self, wrapped: Sequence[tuple[WrappedKey, bytes]]) -> list[bytes]:
        keys = []
        for (master_key_id, sealed), context in wrapped:
            cipher = self._ciphers.get(master_key_id)
            if cipher is None:
                raise MasterKeyUnknown(f"there is no master key {master_key_id}")
            try:
                keys.append(cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context))
            except (InvalidTag, ValueError):
                raise NotOpened(f"a data key wrapped by {master_key_id} does not open") from None
        return keys
