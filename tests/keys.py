"""Keys of the tests: the same in every process, so that what one has sealed another opens."""

from hashlib import sha256

from shared.keyring import MasterKeyring

MASTER_KEYS = MasterKeyring("tests", {"tests": sha256(b"the tests' own master key").digest()})
