"""Sealed to one recipient: X25519 with a key of one use, HKDF-SHA-256, AES-256-GCM (as RFC 9180 does, in base mode)."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.sealing.master_keys import NONCE_BYTES, NotOpened

PUBLIC_BYTES = 32


def new_recipient() -> tuple[bytes, bytes]:
    """A private key and its public one."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def seal_to(public: bytes, plain: bytes, context: bytes) -> bytes:
    """Opens only with the private key and the same context."""
    once = X25519PrivateKey.generate()
    ephemeral = once.public_key().public_bytes_raw()
    shared = once.exchange(X25519PublicKey.from_public_bytes(public))
    nonce = secrets.token_bytes(NONCE_BYTES)
    return ephemeral + nonce + _cipher(shared, ephemeral + public).encrypt(nonce, plain, context)


def open_with(private: bytes, sealed: bytes, context: bytes) -> bytes:
    """Raises NotOpened."""
    key = X25519PrivateKey.from_private_bytes(private)
    ephemeral, rest = sealed[:PUBLIC_BYTES], sealed[PUBLIC_BYTES:]
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        cipher = _cipher(shared, ephemeral + key.public_key().public_bytes_raw())
        return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise NotOpened("a part of an export does not open") from None


def _cipher(shared: bytes, keys: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"branchline export" + keys).derive(shared))
