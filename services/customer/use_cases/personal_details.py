"""Customers' personal details: sealed with a key per customer, opened for who may read them, found by tokens."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

import msgspec
from sqlalchemy import Select, any_, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.ext.asyncio import AsyncSession

from services.customer.domain.names import phone_key, search_key
from services.customer.domain.personal import PersonalDetails, document_key
from services.customer.models import Customer, CustomerToken
from services.customer.use_cases.rows import as_json
from shared.sealing.blind_index import BlindIndex, asked_grams, grams
from shared.sealing.data_keys import DataKey, keys_of

FIELD = "customer.sealed"
MOST_CANDIDATES = 500
"""Customers whose names are opened for one search: who asks for less than a name finds only some of the bank's."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(PersonalDetails).decode


def seal(key: DataKey, details: PersonalDetails) -> bytes:
    return key.seal(_encode(details), FIELD)


async def open_personal_details(session: AsyncSession, customers: Sequence[Customer]) -> None:
    """Fills each customer's `personal` in. Of one whose key was destroyed nothing is known any more."""
    keys = await keys_of(session).find(session, [customer.customer_id for customer in customers])
    for customer in customers:
        key = keys.get(customer.customer_id)
        if key is not None and customer.sealed is not None:
            customer.personal = _decode(key.open(customer.sealed, FIELD))


class _Token(msgspec.Struct):
    customer_id: UUID
    token: str


_INDEX = text(
    "with given as (select n.customer_id, decode(n.token, 'base64') as token"
    "  from json_to_recordset(cast(:tokens as json)) n (customer_id uuid, token text)),"
    " gone as (delete from customer_token t where t.customer_id = any (:customer_ids) and not exists"
    "  (select from given n where n.customer_id = t.customer_id and n.token = t.token))"
    " insert into customer_token (token, customer_id) select token, customer_id from given order by 1, 2"
    " on conflict do nothing"
)


async def index_personal_details(session: AsyncSession, details: Mapping[UUID, PersonalDetails]) -> None:
    """Makes the customers found by what they are called now, and by nothing that they were."""
    index = await keys_of(session).make_index(session)
    tokens = [
        _Token(customer_id, base64.b64encode(token).decode())
        for customer_id, person in details.items()
        for token in sorted(tokens_of(index, person))
    ]
    await session.execute(_INDEX, {"tokens": as_json(tokens), "customer_ids": sorted(details)})


def tokens_of(index: BlindIndex, person: PersonalDetails) -> set[bytes]:
    tokens = index.tokens("name", grams(person.name_key))
    for field, value in (("phone", person.phone_key), ("document", person.document_key)):
        if value:
            tokens.add(index.token(field, value))
    return tokens


async def find_by_personal_details(session: AsyncSession, query: str) -> Sequence[UUID]:
    """Who may be called so, and whose phone or document it is. Row-level security bounds it to who may be seen."""
    index = await keys_of(session).find_index(session)
    if index is None:
        return []
    numbers = [("phone", phone_key(query)), ("document", document_key(query))]
    exact = [index.token(field, value) for field, value in numbers if value]
    found = list(await session.scalars(_having(exact, 1)))
    name = sorted(index.tokens("name", asked_grams(search_key(query))))
    return [*found, *await session.scalars(_having(name, len(name)))] if name else found


def _having(tokens: Iterable[bytes], count: int) -> Select[UUID]:
    return (
        select(CustomerToken.customer_id)
        .where(CustomerToken.token == any_(literal(list(tokens), ARRAY(BYTEA))))
        .group_by(CustomerToken.customer_id)
        .having(func.count() >= count)
        .limit(MOST_CANDIDATES)
    )
