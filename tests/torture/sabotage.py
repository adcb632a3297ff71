"""`branchline`, with one guard taken out: to see that the torture notices. The product knows nothing of this."""

import os
import sys
from collections.abc import Callable, Sequence
from types import FrameType, ModuleType
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services import cli, serving
from services.customer.use_cases.receiving import Remembered
from shared.events import Delivery
from shared.messaging import delivery, positions, relay
from shared.messaging.seen import Seen


def without_dedup() -> None:
    """Deliveries are still noted, and handed on although they were noted before."""
    noting = delivery.deliver_once

    async def hand_on_all(session: AsyncSession, deliveries: Sequence[Delivery[Any]]) -> list[Delivery[Any]]:
        await noting(session, deliveries)
        return list(deliveries)

    delivery.deliver_once = hand_on_all


def without_compare_and_set() -> None:
    """An offset is moved wherever it was."""
    _rewrite(positions, "_ADVANCE", "next_offset = :expected", "cast(:expected as bigint) is not null")


def without_horizon() -> None:
    """The relay sends what it sees, though older transactions may not have committed yet."""
    _rewrite(relay, "_READ", "xid < pg_snapshot_xmin(pg_current_snapshot())", "true")


def without_drain() -> None:
    """SIGTERM ends the process at once, and it says that all is well."""

    def leave(self: serving.Server, sig: int, frame: FrameType | None) -> None:
        os._exit(0)

    serving.Server.handle_exit = leave  # type: ignore[method-assign] # that is the point


def without_ledger() -> None:
    """A process of the customer service takes for new what it has not seen itself; and see TABLES."""
    Seen.DISTRUSTED = 0
    Remembered.__init__.__defaults__ = (0,)


GUARDS: dict[str, Callable[[], None]] = {
    "dedup": without_dedup,
    "compare_and_set": without_compare_and_set,
    "horizon": without_horizon,
    "drain": without_drain,
    "ledger": without_ledger,
}
TABLES = {"ledger": ("customer", "alter table posting drop constraint pk_posting")}
"""What a guard has in a database, and how it is taken out of there."""


def _rewrite(module: ModuleType, statement: str, guard: str, instead: str) -> None:
    """Raises LookupError when the guard is no longer there to be taken out."""
    guarded = str(getattr(module, statement))
    if guard not in guarded:
        raise LookupError(f"{module.__name__}.{statement} has no {guard!r}")
    setattr(module, statement, text(guarded.replace(guard, instead)))


if __name__ == "__main__":
    GUARDS[sys.argv.pop(1)]()
    cli.main()
