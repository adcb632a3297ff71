"""Customers' personal details are sealed, each under the customer's own key, and found by tokens.

What the first version kept as it came is sealed in chunks while the service may go on, then the rest under a lock; only
then do the plain columns go. Replicas of the version before must have ended: they read what is no longer there.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

from services.customer.domain.personal import PersonalDetails
from shared.sealing.blind_index import BlindIndex, grams
from shared.sealing.data_keys import INDEX
from shared.sealing.migration_keys import find_data_keys, make_data_keys, make_service_key

revision = "0011"
down_revision: str | None = "0010"
branch_labels: str | None = None
depends_on: str | None = None

CHUNK = 500
FIELD = "customer.sealed"
PLAIN: dict[str, sa.types.TypeEngine[Any]] = {
    "name": sa.Text(),
    "birth_on": sa.Date(),
    "phone": sa.Text(),
    "email": sa.Text(),
    "address": sa.Text(),
}
IS_PLAIN = "sealed is null and (name, birth_on, phone, email, address) is distinct from (null, null, null, null, null)"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        while _seal_some():
            pass
    op.execute("set local lock_timeout = '5s'")
    op.execute("lock table customer in share row exclusive mode")
    while _seal_some():
        pass
    op.drop_index("ix_customer_name_key", table_name="customer")
    op.drop_index("ix_customer_phone_key", table_name="customer")
    for column in (*PLAIN, "name_key", "phone_key"):
        op.drop_column("customer", column)


def _seal_some() -> int:
    """Seals up to a chunk of customers, each in an order that a crash may interrupt anywhere; returns how many."""
    connection = op.get_bind()
    rows = connection.execute(
        sa.text(
            f"select customer_id, name, birth_on, phone, email, address from customer where {IS_PLAIN}"  # noqa: S608 - no value is in it
            " order by customer_id limit :chunk"
        ),
        {"chunk": CHUNK},
    ).all()
    if not rows:
        return 0
    keys = make_data_keys(connection, [row.customer_id for row in rows])
    index = BlindIndex(make_service_key(connection, INDEX))
    for row in rows:
        person = PersonalDetails(row.name, row.birth_on, row.phone, row.email, row.address)
        tokens = index.tokens("name", grams(person.name_key))
        if person.phone_key:
            tokens.add(index.token("phone", person.phone_key))
        if tokens:
            connection.execute(
                sa.text("insert into customer_token values (:token, :customer_id) on conflict do nothing"),
                [{"token": token, "customer_id": row.customer_id} for token in sorted(tokens)],
            )
        connection.execute(
            sa.text("update customer set sealed = :sealed where customer_id = :customer_id"),
            {"sealed": keys[row.customer_id].seal(_written(row), FIELD), "customer_id": row.customer_id},
        )
    return len(rows)


def _written(row: Any) -> bytes:
    values = {name: getattr(row, name) for name in PLAIN}
    if values["birth_on"]:
        values["birth_on"] = values["birth_on"].isoformat()
    return json.dumps(values, ensure_ascii=False).encode()


def downgrade() -> None:
    """Opens what is sealed into the plain columns again."""
    for name, kind in PLAIN.items():
        op.add_column("customer", sa.Column(name, kind, nullable=True))
    op.add_column(
        "customer",
        sa.Column(
            "name_key",
            sa.Text(collation="C"),
            nullable=True,
            comment="the name as it is searched: case folded, one space",
        ),
    )
    op.add_column(
        "customer",
        sa.Column("phone_key", sa.Text(), nullable=True, comment="its digits, by which it is searched"),
    )
    connection = op.get_bind()
    rows = connection.execute(sa.text("select customer_id, sealed from customer where sealed is not null")).all()
    keys = find_data_keys(connection, [row.customer_id for row in rows])
    for row in rows:
        if row.customer_id not in keys:
            continue
        values = json.loads(keys[row.customer_id].open(row.sealed, FIELD))
        person = PersonalDetails(name=values.get("name"), phone=values.get("phone"))
        connection.execute(
            sa.text(
                "update customer set name = :name, birth_on = cast(:birth_on as date), phone = :phone, email = :email,"
                " address = :address, name_key = :name_key, phone_key = :phone_key where customer_id = :customer_id"
            ),
            {
                **{name: values.get(name) for name in PLAIN},
                "name_key": person.name_key or None,
                "phone_key": person.phone_key,
                "customer_id": row.customer_id,
            },
        )
    op.create_index("ix_customer_name_key", "customer", ["name_key", "customer_id"])
    op.create_index("ix_customer_phone_key", "customer", ["phone_key"])
    op.execute("delete from customer_token")
    op.execute("update customer set sealed = null")
