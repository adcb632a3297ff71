"""What every service tells of an export, each as an event of its own: sealed, so that no topic can be read."""

from uuid import UUID

from shared.events.base import CustomerEvent


class ExportPart(CustomerEvent, frozen=True, kw_only=True, omit_defaults=True):
    """Number `number` of the `of` pieces of what a service has about a customer, for the holder of one key only.

    `sealed` is base64 of an ephemeral X25519 public key, a nonce and AES-256-GCM, the key by HKDF-SHA-256.
    """

    export_id: UUID
    number: int
    of: int
    sealed: str
