"""The keys that the audit's chains are made with: from the environment or a file, never a default."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

LEAST_BYTES = 32
"""Of a key: HMAC-SHA-256 gains nothing from fewer or more (RFC 2104, 3)."""


class UnfitAuditKeys(Exception):
    """The keys are missing or could be guessed. The text names the key's id, never the key."""


@dataclass(frozen=True, repr=False)
class AuditKeys:
    """`current` is the id of the key that new chains get; a chain that an older one made is verified with that."""

    current: str
    keys: Mapping[str, bytes]

    @classmethod
    def read(cls, stated: SecretStr | None, file: Path | None) -> "AuditKeys":
        """Of `id:base64`, several with commas or line ends between, the current one first. Raises UnfitAuditKeys."""
        if stated is not None and file is not None:
            raise UnfitAuditKeys("audit_keys and audit_keys_file are two places for one thing; set one of them")
        if stated is not None:
            text = stated.get_secret_value()
        elif file is not None:
            try:
                text = file.read_text("ascii")
            except (OSError, ValueError) as fault:
                raise UnfitAuditKeys(f"audit_keys_file cannot be read ({type(fault).__name__})") from None
        else:
            raise UnfitAuditKeys("the audit has no key: set BRANCHLINE_AUDIT_KEYS or BRANCHLINE_AUDIT_KEYS_FILE")
        keys: dict[str, bytes] = {}
        for part in text.replace(",", "\n").split():
            key_id, _, encoded = part.partition(":")
            if not key_id.isascii() or not key_id.isprintable() or len(key_id) > 64 or key_id in keys:
                raise UnfitAuditKeys("each audit key has an id of its own, of 1 to 64 ASCII characters")
            keys[key_id] = _strong_key(key_id, encoded)
        if not keys or "" in keys:
            raise UnfitAuditKeys("audit keys are written id:base64, with commas or line ends between")
        return cls(next(iter(keys)), keys)

    @classmethod
    def generate(cls, key_id: str = "1") -> "AuditKeys":
        return cls(key_id, {key_id: secrets.token_bytes(LEAST_BYTES)})

    def written(self) -> str:
        """As `read` reads it."""
        ids = [self.current, *(key_id for key_id in self.keys if key_id != self.current)]
        return "".join(f"{key_id}:{base64.b64encode(self.keys[key_id]).decode()}\n" for key_id in ids)

    def __repr__(self) -> str:
        return f"AuditKeys(current={self.current!r}, {len(self.keys)} keys)"


def _strong_key(key_id: str, encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise UnfitAuditKeys(f"audit key {key_id} is not base64") from None
    if len(key) < LEAST_BYTES:
        raise UnfitAuditKeys(f"audit key {key_id} has {len(key)} bytes; it takes {LEAST_BYTES} random ones")
    # Of 32 random bytes, fewer than 16 different ones are less likely than 1 in 10^15, and all below 128 1 in 10^9.
    if len(set(key)) < LEAST_BYTES // 2 or max(key) < 128:
        raise UnfitAuditKeys(f"audit key {key_id} is not random; make one with `openssl rand -base64 32`")
    return key
