"""Where members of staff have alerts sent: an address of their choice and a secret of ours, sealed together.

Others' services put secrets into their addresses, too: whoever reads the table or the log sees neither.
"""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notification.domain.webhooks import make_secret
from services.notification.models import Webhook
from shared.masking import masked
from shared.sealing.kept import Kept, Plain, open_kept, seal_to_keep
from shared.web.etag import WritableTag


@masked
class Target(msgspec.Struct, frozen=True):
    """What is sealed."""

    address: str
    secret: bytes


class Set(NamedTuple):
    """A webhook as it stands, and what it opens to; None where there is none."""

    webhook: Webhook
    target: Target | None


def _field(staff_id: str) -> str:
    return f"webhook.sealed:{staff_id}"


async def read_webhook(session: AsyncSession, staff_id: str) -> Set:
    webhook = await session.get(Webhook, staff_id)
    return await _opened(session, webhook or Webhook(staff_id=staff_id, version=0))


async def find_webhook(session: AsyncSession, staff_id: str) -> Set | None:
    """One that is to be called."""
    found = await read_webhook(session, staff_id)
    return None if found.target is None or found.webhook.switched_off_at else found


async def set_webhook(session: AsyncSession, staff_id: str, address: str, seen: WritableTag, now: datetime) -> Set:
    """With a new secret each time: `address` is one that was checked. Raises StaleVersion."""
    webhook = await _lock(session, staff_id)
    seen.check(webhook.version)
    target = Target(address, make_secret())
    plain = Plain(_field(staff_id), msgspec.msgpack.encode(target))
    (kept,) = await seal_to_keep(session, "webhook", [plain])
    assert kept is not None  # it names no customer who could have been erased
    webhook.version += 1
    webhook.sealed, webhook.set_at = kept.sealed, now
    webhook.switched_off_at = webhook.code = None
    return Set(webhook, target)


async def remove_webhook(session: AsyncSession, staff_id: str, seen: WritableTag) -> Webhook:
    """What waits for it is cancelled when it is due. Raises StaleVersion."""
    webhook = await _lock(session, staff_id)
    seen.check(webhook.version)
    webhook.version += 1
    webhook.sealed = webhook.set_at = webhook.switched_off_at = webhook.code = None
    return webhook


async def switch_off(session: AsyncSession, webhook: Webhook, code: str, now: datetime) -> None:
    """Unless it was set anew since it was read."""
    await session.execute(
        update(Webhook)
        .where(Webhook.staff_id == webhook.staff_id, Webhook.version == webhook.version)
        .values(version=Webhook.version + 1, switched_off_at=now, code=code)
    )


async def staff_with_webhook(session: AsyncSession, staff_ids: Collection[str]) -> set[str]:
    is_on = (Webhook.sealed.is_not(None), Webhook.switched_off_at.is_(None))
    return set(await session.scalars(select(Webhook.staff_id).where(Webhook.staff_id.in_(staff_ids), *is_on)))


async def _lock(session: AsyncSession, staff_id: str) -> Webhook:
    await session.execute(insert(Webhook).values(staff_id=staff_id, version=0).on_conflict_do_nothing())
    return (await session.scalars(select(Webhook).where(Webhook.staff_id == staff_id).with_for_update())).one()


async def _opened(session: AsyncSession, webhook: Webhook) -> Set:
    if webhook.sealed is None:
        return Set(webhook, None)
    (content,) = await open_kept(session, [(_field(webhook.staff_id), Kept(webhook.sealed, None))])
    return Set(webhook, msgspec.msgpack.decode(content, type=Target) if content is not None else None)
