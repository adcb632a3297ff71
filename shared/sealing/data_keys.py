"""A data key per customer: what is sealed with it is gone when it is.

Sealed text is AES-256-GCM: a version, a nonce and the ciphertext with its tag. The authenticated context is the field
and the customer, so that a sealed value that is copied to another row or column does not open.
"""

import secrets
from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import (
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    any_,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.sealing.blind_index import BlindIndex
from shared.sealing.master_keys import KEY_BYTES, NONCE_BYTES, MasterKeys, NotOpened, WrappedKey

VERSION = b"\x01"
INDEX = "index"
"""The service's key whose tokens are searched."""
FOR_NOBODY = "for_nobody"
"""The service's key for what names no known customer."""
NOBODY = UUID(int=0)
"""Whose it is."""
DATA_KEYS = "data_keys"
"""Where a session has them."""
_MADE = "made_service_keys"

metadata = MetaData()

data_key = Table(
    "data_key",
    metadata,
    Column("customer_id", Uuid, primary_key=True),
    Column("master_key_id", Text, comment="null once destroyed"),
    Column("wrapped", LargeBinary, comment="null once destroyed"),
    Column("made_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    Column("destroyed_at", DateTime(timezone=True), comment="the customer was erased: there never is a key again"),
    Index("ix_data_key_master_key_id", "master_key_id"),
    Index("ix_data_key_destroyed", "customer_id", postgresql_where=text("destroyed_at is not null")),
)

service_key = Table(
    "service_key",
    metadata,
    Column("name", Text, primary_key=True),
    Column("master_key_id", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)


class Keyless(Exception):
    """Nobody has given the session keys: its database was opened without master keys."""


class DataKey:
    """One customer's."""

    def __init__(self, customer_id: UUID, key: bytes) -> None:
        self.customer_id = customer_id
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, field: str) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return VERSION + nonce + self._cipher.encrypt(nonce, plain, self._context(field))

    def open(self, sealed: bytes, field: str) -> bytes:
        """Raises NotOpened."""
        if sealed[:1] != VERSION:
            raise NotOpened(f"{field} is not sealed in a way that is known here")
        nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, self._context(field))
        except (InvalidTag, ValueError):
            raise NotOpened(f"{field} does not open with the key of its customer") from None

    def _context(self, field: str) -> bytes:
        return self.customer_id.bytes + field.encode()

    def __repr__(self) -> str:
        return f"DataKey({self.customer_id})"


class DataKeys:
    """The customers' keys in a service's own database, opened by the bank's master keys."""

    CACHED = 10_000

    def __init__(self, master_keys: MasterKeys) -> None:
        self._master_keys = master_keys
        self._opened: OrderedDict[tuple[UUID, bytes], DataKey] = OrderedDict()
        self._index: BlindIndex | None = None
        self._for_nobody: DataKey | None = None
        self._own: dict[str, bytes] = {}

    async def find(self, session: AsyncSession, customer_ids: Iterable[UUID]) -> dict[UUID, DataKey]:
        """Those that there are. The row is read each time: a key that was destroyed is not found, cached or not."""
        wanted = sorted(set(customer_ids))
        if not wanted:
            return {}
        rows = await session.execute(
            select(data_key.c.customer_id, data_key.c.master_key_id, data_key.c.wrapped).where(
                data_key.c.customer_id == any_(literal(wanted, ARRAY(Uuid))), data_key.c.wrapped.is_not(None)
            )
        )
        return await self._open({row.customer_id: WrappedKey(row.master_key_id, row.wrapped) for row in rows})

    async def make(self, session: AsyncSession, customer_ids: Iterable[UUID]) -> dict[UUID, DataKey]:
        """The customers' keys, made for those that have none. Who was erased gets none, and is not in the answer."""
        wanted = sorted(set(customer_ids))
        found = await self.find(session, wanted)
        missing = [customer_id for customer_id in wanted if customer_id not in found]
        if not missing:
            return found
        keys = [(secrets.token_bytes(KEY_BYTES), customer_id.bytes) for customer_id in missing]
        wrapped = await self._master_keys.wrap(keys)
        rows = [
            {"customer_id": customer_id, **key._asdict()} for customer_id, key in zip(missing, wrapped, strict=True)
        ]
        await session.execute(insert(data_key).on_conflict_do_nothing(), rows)
        return found | await self.find(session, missing)

    async def destroy(self, session: AsyncSession, customer_id: UUID) -> None:
        """For ever, and also for a customer who never had one: from now on `make` makes none."""
        gone = {"master_key_id": None, "wrapped": None, "destroyed_at": func.now()}
        await session.execute(
            insert(data_key)
            .values(customer_id=customer_id, **gone)
            .on_conflict_do_update(index_elements=["customer_id"], set_=gone, where=data_key.c.destroyed_at.is_(None))
        )
        for cached in [key for key in self._opened if key[0] == customer_id]:
            del self._opened[cached]

    async def find_index(self, session: AsyncSession) -> BlindIndex | None:
        """The service's blind index; None while nothing is in it."""
        if self._index is None:
            key = await self._find_service_key(session, INDEX)
            if key is None:
                return None
            if INDEX in session.info.get(_MADE, ()):  # may yet be rolled back
                return BlindIndex(key)
            self._index = BlindIndex(key)
        return self._index

    async def make_index(self, session: AsyncSession) -> BlindIndex:
        """The service's blind index. Its key is made when there is none, and wrapped like the customers'."""
        if self._index is None:
            await self._make_service_key(session, INDEX)
        index = await self.find_index(session)
        assert index is not None
        return index

    async def find_for_nobody(self, session: AsyncSession) -> DataKey | None:
        """The service's key for what names no known customer; None while nothing was sealed with it."""
        if self._for_nobody is None:
            key = await self._find_service_key(session, FOR_NOBODY)
            if key is None:
                return None
            if FOR_NOBODY in session.info.get(_MADE, ()):
                return DataKey(NOBODY, key)
            self._for_nobody = DataKey(NOBODY, key)
        return self._for_nobody

    async def make_for_nobody(self, session: AsyncSession) -> DataKey:
        """The service's key for what names no known customer, made when there is none."""
        if self._for_nobody is None:
            await self._make_service_key(session, FOR_NOBODY)
        key = await self.find_for_nobody(session)
        assert key is not None
        return key

    async def find_own(self, session: AsyncSession, name: str) -> bytes | None:
        """A key of the service's own for what is sealed with none; None while nobody has made it."""
        if name not in self._own:
            key = await self._find_service_key(session, name)
            if key is None or name in session.info.get(_MADE, ()):
                return key
            self._own[name] = key
        return self._own[name]

    async def make_own(self, session: AsyncSession, name: str) -> bytes:
        """As `find_own`, made when there is none."""
        if name not in self._own:
            await self._make_service_key(session, name)
        key = await self.find_own(session, name)
        assert key is not None
        return key

    async def _find_service_key(self, session: AsyncSession, name: str) -> bytes | None:
        kept = (await session.execute(select(service_key).where(service_key.c.name == name))).one_or_none()
        if kept is None:
            return None
        (key,) = await self._master_keys.unwrap([(WrappedKey(kept.master_key_id, kept.wrapped), name.encode())])
        return key

    async def _make_service_key(self, session: AsyncSession, name: str) -> None:
        if await self._find_service_key(session, name) is None:
            (made,) = await self._master_keys.wrap([(secrets.token_bytes(KEY_BYTES), name.encode())])
            session.info.setdefault(_MADE, set()).add(name)
            await session.execute(insert(service_key).values(name=name, **made._asdict()).on_conflict_do_nothing())

    async def _open(self, wrapped: dict[UUID, WrappedKey]) -> dict[UUID, DataKey]:
        opened: dict[UUID, DataKey] = {}
        unopened: list[tuple[WrappedKey, bytes]] = []
        for customer_id, key in wrapped.items():
            cached = self._opened.get((customer_id, key.wrapped))
            if cached is None:
                unopened.append((key, customer_id.bytes))
            else:
                opened[customer_id] = cached
        for (key, context), raw in zip(unopened, await self._master_keys.unwrap(unopened), strict=True):
            customer_id = UUID(bytes=context)
            opened[customer_id] = self._opened[customer_id, key.wrapped] = DataKey(customer_id, raw)
        while len(self._opened) > self.CACHED:
            self._opened.popitem(last=False)
        return opened


def keys_of(session: AsyncSession) -> DataKeys:
    """Those of the session's database. Raises Keyless."""
    keys: DataKeys | None = session.info.get(DATA_KEYS)
    if keys is None:
        raise Keyless
    return keys
