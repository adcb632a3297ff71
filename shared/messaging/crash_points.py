"""Where a process may die in a delivery or in the relay: each point has a name, and a test that dies there.

`reached` does nothing until `arm` was called, which only tests do: nothing from outside the process can arm a point.
"""

from collections.abc import Callable
from enum import Enum, auto


class CrashPoint(Enum):
    """In the order in which a delivery, and then a relay, comes by."""

    PARTITION_BEGUN = auto()
    """Where the partition goes on is written down; nothing is read."""
    FETCHED = auto()
    OFFSET_ADVANCED = auto()
    DEDUPLICATED = auto()
    PARKED = auto()
    EFFECTS_WRITTEN = auto()
    OUTBOX_WRITTEN = auto()
    """The last before the commit."""
    COMMITTED = auto()
    DELIVERED = auto()
    """The whole batch is committed, in however many transactions."""
    PROGRESS_REPORTED = auto()
    LEADING = auto()
    """This relay is the one that sends."""
    OUTBOX_READ = auto()
    HALF_SENT = auto()
    """Some of the batch is in the log, or none of it yet where the log takes all or nothing."""
    SENT = auto()
    DELETED = auto()


_act: Callable[[CrashPoint], None] | None = None


def reached(point: CrashPoint) -> None:
    if _act is not None:
        _act(point)


def arm(act: Callable[[CrashPoint], None] | None) -> None:
    """For tests: `act` is called at every point from now on; None disarms."""
    global _act  # noqa: PLW0603 - one process, one death
    _act = act
