"""Keys for a migration that seals what was kept plain: it has a connection, and no session."""

import secrets
from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.util import await_only

from shared.migrations import master_keys_of_migration
from shared.sealing.data_keys import DataKey
from shared.sealing.master_keys import KEY_BYTES, WrappedKey


def make_data_keys(connection: sa.Connection, customer_ids: Sequence[UUID]) -> dict[UUID, DataKey]:
    """Each customer's key, made where there is none; none of one who was erased."""
    if not customer_ids:
        return {}
    made = [(secrets.token_bytes(KEY_BYTES), customer_id.bytes) for customer_id in customer_ids]
    wrapped = await_only(master_keys_of_migration().wrap(made))
    connection.execute(
        sa.text("insert into data_key values (:customer_id, :master_key_id, :wrapped) on conflict do nothing"),
        [{"customer_id": id_, **key._asdict()} for id_, key in zip(customer_ids, wrapped, strict=True)],
    )
    return find_data_keys(connection, customer_ids)


def find_data_keys(connection: sa.Connection, customer_ids: Sequence[UUID]) -> dict[UUID, DataKey]:
    """Of the customers who have one."""
    if not customer_ids:
        return {}
    rows = connection.execute(
        sa.text(
            "select customer_id, master_key_id, wrapped from data_key"
            " where customer_id = any(:ids) and wrapped is not null"
        ),
        {"ids": list(customer_ids)},
    ).all()
    wrapped = [(WrappedKey(row.master_key_id, row.wrapped), row.customer_id.bytes) for row in rows]
    raw = await_only(master_keys_of_migration().unwrap(wrapped)) if wrapped else []
    return {row.customer_id: DataKey(row.customer_id, key) for row, key in zip(rows, raw, strict=True)}


def make_service_key(connection: sa.Connection, name: str) -> bytes:
    """The service's own key of that name, made where there is none."""
    (made,) = await_only(master_keys_of_migration().wrap([(secrets.token_bytes(KEY_BYTES), name.encode())]))
    connection.execute(
        sa.text("insert into service_key values (:name, :master_key_id, :wrapped) on conflict do nothing"),
        {"name": name, **made._asdict()},
    )
    key = find_service_key(connection, name)
    assert key is not None
    return key


def find_service_key(connection: sa.Connection, name: str) -> bytes | None:
    kept = connection.execute(
        sa.text("select master_key_id, wrapped from service_key where name = :name"), {"name": name}
    ).one_or_none()
    if kept is None:
        return None
    (key,) = await_only(master_keys_of_migration().unwrap([(WrappedKey(*kept), name.encode())]))
    return key
