"""What is held or parked of the core's events, sealed with its customer's key, or while none is known the service's."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.use_cases.receiving import Received
from services.customer.use_cases.rows import as_json
from shared.keepable_text import is_keepable
from shared.sealing.kept import Kept, Plain, open_kept, seal_to_keep


class KeptRow(Protocol):
    """A row of `kept_event`, or as much of it as opens it."""

    source: Any
    event_id: Any
    fingerprint: Any
    customer_id: Any
    sealed: Any


class _Named(msgspec.Struct):
    """Whom an event names, right or wrong as the rest of it may be."""

    party_id: Any = None
    account_id: Any = None
    parties: Any = None


_read = msgspec.json.Decoder(_Named).decode
_CUSTOMERS = text(
    "select 'party:' || party_id as name, customer_id from customer where source = :source"
    " and party_id = any (array (select json_array_elements_text(cast(:parties as json))))"
    " union all select 'account:' || core_account_id, customer_id from account where source = :source"
    " and core_account_id = any (array (select json_array_elements_text(cast(:accounts as json))))"
)


async def seal_events(session: AsyncSession, source: str, events: Sequence[Received]) -> list[Kept | None]:
    """Of one source, in order; None for what is not to be kept, since its customer was erased."""
    names = [names_of(event.data) for event in events]
    asked = sorted({name for names_ in names for name in names_})
    given = {
        "source": source,
        "parties": as_json([name.removeprefix(PARTY) for name in asked if name.startswith(PARTY)]),
        "accounts": as_json([name.removeprefix(ACCOUNT) for name in asked if name.startswith(ACCOUNT)]),
    }
    found = {row.name: row.customer_id for row in await session.execute(_CUSTOMERS, given)} if asked else {}
    plains = [
        Plain(
            field_of(source, event.event_id, event.fingerprint),
            event.cloud_event,
            next((found[name] for name in names_ if name in found), None),
        )
        for event, names_ in zip(events, names, strict=True)
    ]
    return await seal_to_keep(session, "kept_event", plains)


async def open_events(session: AsyncSession, kept: Sequence[KeptRow]) -> list[bytes | None]:
    """In order; None for what is gone with its customer's key."""
    return await open_kept(
        session, [(field_of(k.source, k.event_id, k.fingerprint), Kept(k.sealed, k.customer_id)) for k in kept]
    )


def field_of(source: str, event_id: str, fingerprint: int) -> str:
    return f"kept_event.sealed:{source}\0{event_id}\0{fingerprint}"


PARTY, ACCOUNT = "party:", "account:"
MOST_NAMES = 20


def names_of(data: bytes | msgspec.Raw) -> list[str]:
    """The parties and accounts that an event names, as kind:id; of one that cannot be read none."""
    try:
        named = _read(bytes(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    related = named.parties if isinstance(named.parties, list) else []
    parties = [named.party_id, *(each.get("party_id") for each in related if isinstance(each, dict))]
    pairs = [*((PARTY, party) for party in parties), (ACCOUNT, named.account_id)]
    names = [kind + named_ for kind, named_ in pairs if isinstance(named_, str) and is_keepable(named_)]
    return list(dict.fromkeys(names))[:MOST_NAMES]
