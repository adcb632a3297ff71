"""Bytes that are kept for later: under the key of the customer whom they name, or else of the service, for a while.

Of a customer who was erased nothing is kept any more.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

import structlog
from prometheus_client import Counter
from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from shared.masking import masked
from shared.sealing.data_keys import DataKey, keys_of
from shared.sealing.master_keys import NotOpened

log = structlog.get_logger(__name__)

NOT_KEPT = Counter(
    "branchline_of_erased_not_kept_total", "What came late of customers who were erased, and was not kept.", ["table"]
)
EXPIRED = Counter(
    "branchline_unattributed_expired_total", "What named no known customer, and was not kept longer.", ["table"]
)


@masked
class Plain(NamedTuple):
    """`field` is where it is kept, row and all: sealed bytes do not open elsewhere."""

    field: str
    content: bytes
    customer_id: UUID | None = None
    """Whom it names, known or not."""


class Kept(NamedTuple):
    """`customer_id` is whose key opens it; None is the service's."""

    sealed: bytes
    customer_id: UUID | None


_KNOWN = text(
    "select i.id, k.destroyed_at is not null as is_erased from unnest(:ids) i (id)"
    " left join customer_scope s on s.customer_id = i.id left join data_key k on k.customer_id = i.id"
    " where s.customer_id is not null or k.customer_id is not null"
).bindparams(bindparam("ids", type_=ARRAY(Uuid)))


async def seal_to_keep(session: AsyncSession, table: str, plains: Sequence[Plain]) -> list[Kept | None]:
    """Each sealed, in order; None for what is not to be kept, since its customer was erased."""
    if not plains:
        return []
    named = sorted({plain.customer_id for plain in plains if plain.customer_id is not None})
    known = {row.id: row.is_erased for row in await session.execute(_KNOWN, {"ids": named})} if named else {}
    keys = await keys_of(session).make(session, (id_ for id_, is_erased in known.items() if not is_erased))
    nobodys: DataKey | None = None
    kept: list[Kept | None] = []
    for plain in plains:
        key = keys.get(plain.customer_id) if plain.customer_id else None
        if key is not None:
            kept.append(Kept(key.seal(plain.content, plain.field), key.customer_id))
        elif plain.customer_id in known:
            NOT_KEPT.labels(table).inc()
            kept.append(None)
        else:
            nobodys = nobodys or await keys_of(session).make_for_nobody(session)
            kept.append(Kept(nobodys.seal(plain.content, plain.field), None))
    return kept


async def open_kept(session: AsyncSession, kept: Iterable[tuple[str, Kept]]) -> list[bytes | None]:
    """The contents of (field, kept) pairs, in order; None for what is gone with its customer's key."""
    asked = list(kept)
    keys = await keys_of(session).find(session, (k.customer_id for _, k in asked if k.customer_id is not None))
    nobodys: DataKey | None = None
    if any(k.customer_id is None for _, k in asked):
        nobodys = await keys_of(session).find_for_nobody(session)
    opened: list[bytes | None] = []
    for field, each in asked:
        key = nobodys if each.customer_id is None else keys.get(each.customer_id)
        try:
            opened.append(key.open(each.sealed, field) if key is not None else None)
        except NotOpened:
            log.error("kept_bytes_do_not_open", field=field.partition(":")[0])
            opened.append(None)
    return opened
