"""Keys of the tests: the same in every process, so that what one has sealed another opens."""

from hashlib import sha256

from sqlalchemy import insert

from shared.database import Database
from shared.keyring import MasterKeyring
from shared.sealing.data_keys import service_key
from shared.sealing.master_keys import LocalMasterKeys

MASTER_KEYS = MasterKeyring("tests", {"tests": sha256(b"the tests' own master key").digest()})


async def share_fingerprints(database: Database) -> Database:
    """Gives a new customer service's database the tests' key of fingerprints: so two of them can be compared."""
    (key,) = await LocalMasterKeys(MASTER_KEYS).wrap([(sha256(b"the tests' fingerprints").digest(), b"fingerprints")])
    async with database.jobs.begin() as connection:
        await connection.execute(insert(service_key).values(name="fingerprints", **key._asdict()))
    return database
