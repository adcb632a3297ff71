"""Keys that the bank gives us: from the environment or a file, never a default. The first is used, the others were."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from pydantic import SecretStr

LEAST_BYTES = 32
"""Of a key: what AES-256 takes; HMAC-SHA-256 gains nothing from more (RFC 2104, 3)."""


class UnfitKeys(Exception):
    """The keys are missing or could be guessed. The text names the key's id, never the key."""


@dataclass(frozen=True, repr=False)
class Keyring:
    """`current` is the id of the key that is used now; what an older one made is still read with that."""

    NAME: ClassVar[str]
    """Of the setting that holds it: `audit_keys`, and `audit_keys_file`."""

    current: str
    keys: Mapping[str, bytes]

    @classmethod
    def read(cls, stated: SecretStr | None, file: Path | None) -> Self:
        """Of `id:base64`, several with commas or line ends between, the current one first. Raises UnfitKeys."""
        if stated is not None and file is not None:
            raise UnfitKeys(f"{cls.NAME} and {cls.NAME}_file are two places for one thing; set one of them")
        if stated is not None:
            text = stated.get_secret_value()
        elif file is not None:
            try:
                text = file.read_text("ascii")
            except (OSError, ValueError) as fault:
                raise UnfitKeys(f"{cls.NAME}_file cannot be read ({type(fault).__name__})") from None
        else:
            raise UnfitKeys(f"there is no key: set BRANCHLINE_{cls.NAME.upper()} or BRANCHLINE_{cls.NAME.upper()}_FILE")
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """As `read`."""
        keys: dict[str, bytes] = {}
        for part in text.replace(",", "\n").split():
            key_id, _, encoded = part.partition(":")
            if not key_id.isascii() or not key_id.isprintable() or len(key_id) > 64 or key_id in keys:
                raise UnfitKeys(f"{cls.NAME}: each key has an id of its own, of 1 to 64 ASCII characters")
            keys[key_id] = _strong_key(f"{cls.NAME}: {key_id}", encoded)
        if not keys or "" in keys:
            raise UnfitKeys(f"{cls.NAME} are written id:base64, with commas or line ends between")
        return cls(next(iter(keys)), keys)

    @classmethod
    def generate(cls, key_id: str = "1") -> Self:
        return cls(key_id, {key_id: secrets.token_bytes(LEAST_BYTES)})

    def written(self) -> str:
        """As `read` reads it."""
        ids = [self.current, *(key_id for key_id in self.keys if key_id != self.current)]
        return "".join(f"{key_id}:{base64.b64encode(self.keys[key_id]).decode()}\n" for key_id in ids)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(current={self.current!r}, {len(self.keys)} keys)"


class AuditKeys(Keyring):
    """New chains of the audit are made with the first; those that an older one made are verified with that."""

    NAME = "audit_keys"


class MasterKeyring(Keyring):
    """Data keys are wrapped with the first; those that an older one wrapped are opened with that."""

    NAME = "master_keys"


def _strong_key(key_id: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise UnfitKeys(f"{key_id} is not base64") from None
    if len(key) < LEAST_BYTES:
        raise UnfitKeys(f"{key_id} has {len(key)} bytes; it takes {LEAST_BYTES} random ones")
    # Of 32 random bytes, fewer than 16 different ones are less likely than 1 in 10^15, and all below 128 1 in 10^9.
    if len(set(key)) < LEAST_BYTES // 2 or max(key) < 128:
        raise UnfitKeys(f"{key_id} is not random; make one with `openssl rand -base64 32`")
    return key
