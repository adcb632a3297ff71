"""Marking: which customers have to be scored anew, and from which day on.

It comes first in every use case that writes about customers: it locks their rows, in the order of
their ids, so that whoever scores them sees all of it or waits.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.scoring.use_cases.arrays import date_array, uuid_array

_MARK = text(
    "insert into customer_score as s (customer_id, partition, due_on)"
    " select c, :partition, d from unnest(cast(:customers as uuid[]), cast(:days as date[])) m (c, d) order by c"
    " on conflict (customer_id) do update set due_on = least(s.due_on, excluded.due_on)"
    " where excluded.due_on < coalesce(s.due_on, 'infinity')"
)


async def mark_due(session: AsyncSession, partition: int, days: Mapping[UUID, date | None]) -> None:
    """Locks each customer, and has them scored anew from the day named; None changes no score.

    `partition` is the one that a customer's events come in: the same in every topic.
    """
    if not days:
        return
    customers = sorted(days)
    await session.execute(
        _MARK,
        {
            "customers": uuid_array(customers),
            "partition": partition,
            "days": date_array(days[customer] for customer in customers),
        },
    )


class Days:
    """Collects for each customer the first day that is touched."""

    def __init__(self, customers: Sequence[UUID] = ()) -> None:
        self.first: dict[UUID, date | None] = dict.fromkeys(customers)

    @property
    def touched(self) -> dict[UUID, date | None]:
        """Without those of whom nothing changes."""
        return {customer_id: day for customer_id, day in self.first.items() if day is not None}

    def touch(self, customer_id: UUID, *days: date | None) -> None:
        known = [day for day in (self.first.get(customer_id), *days) if day is not None]
        self.first[customer_id] = min(known, default=None)
