"""State events carry a revision: of what is known the newest state stays, in whichever order they come."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession


class Revised(Protocol):
    @property
    def revision(self) -> int: ...


Key = TypeVar("Key", bound=Hashable)
State = TypeVar("State", bound=Revised)


def newest(states: Iterable[State], key: Callable[[State], Key]) -> dict[Key, State]:
    """Of each thing its state of the greatest revision; of equal ones the first."""
    kept: dict[Key, State] = {}
    for state in states:
        known = kept.setdefault(key(state), state)
        if known.revision < state.revision:
            kept[key(state)] = state
    return kept


async def keep_newest(session: AsyncSession, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts rows into a table with a `revision`, or puts them in the place of older ones of the same primary key.

    They come sorted by it, so that transactions wait for one another and do not deadlock.
    """
    if not rows:
        return
    upsert = insert(table)
    changed = rows[0].keys() - table.primary_key.columns.keys()
    newer = upsert.on_conflict_do_update(
        index_elements=table.primary_key.columns,
        set_={name: upsert.excluded[name] for name in sorted(changed)},
        where=table.c.revision < upsert.excluded.revision,
    )
    await session.execute(newer, rows)
