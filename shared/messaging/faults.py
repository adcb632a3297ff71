"""Which faults pass by themselves, and how long to wait for them."""

import random
import sys
from collections.abc import Iterator
from socket import gaierror

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

PASSING = ("08", "40", "53", "57", "58")
"""SQLSTATE classes: connection lost, transaction rolled back for others, no resources, operator intervened, system."""
PASSING_STATES = ("25006", "55006", "55P03")
"""Read-only (a standby that is not the primary yet), in use, lock not available."""
FIRST_DELAY, MOST_DELAY = 0.05, 10.0  # seconds


class Away(Exception):
    """The log cannot be read or written now; the same may work later."""


class OffsetOutOfRange(Exception):
    """Records were removed before they were read, or are of another log. Going on would skip some: nothing goes on."""


def is_transient(fault: BaseException) -> bool:
    """Whether the same may work later, without any change: the database or the broker is away or busy."""
    if isinstance(fault, (Away, ConnectionError, TimeoutError, gaierror, PoolTimeout)):
        return True
    kafka = sys.modules.get("aiokafka.errors")  # whoever never read Kafka's client in has none of its faults
    if kafka is not None and isinstance(fault, kafka.KafkaError):
        return bool(fault.retriable)
    if isinstance(fault, DBAPIError):
        return fault.connection_invalidated or (fault.orig is not None and is_transient(fault.orig))
    if isinstance(fault, psycopg.Error):
        if fault.sqlstate is None:  # psycopg's own: there is no connection to ask
            return isinstance(fault, (psycopg.OperationalError, psycopg.InterfaceError))
        return fault.sqlstate[:2] in PASSING or fault.sqlstate in PASSING_STATES
    return False


def is_away(fault: BaseException) -> bool:
    """Of a transient one: whether nobody answers, as opposed to one that answers and refuses or is too slow."""
    if isinstance(fault, DBAPIError):
        return fault.connection_invalidated or (fault.orig is not None and is_away(fault.orig))
    if isinstance(fault, psycopg.Error):
        return fault.sqlstate is None or fault.sqlstate.startswith(("08", "57P", "58")) or fault.sqlstate == "25006"
    return not isinstance(fault, (TimeoutError, PoolTimeout))


def backoff() -> Iterator[float]:
    """Seconds to wait before each further attempt: doubling, with jitter of half on either side."""
    delay = FIRST_DELAY
    while True:
        yield delay * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
        delay = min(delay * 2, MOST_DELAY)


def name_of(fault: BaseException) -> str:
    """For logs: what kind it is, and what it came from. Its text may quote an event."""
    cause = fault.__cause__
    return f"{type(fault).__name__} from {type(cause).__name__}" if cause else type(fault).__name__
