"""Which faults pass by themselves, and how long to wait for them."""

import random
from collections.abc import Iterator

import psycopg.errors
from aiokafka.errors import KafkaConnectionError, KafkaError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout


def is_transient(fault: BaseException) -> bool:
    """Whether the same delivery may work later, without any change: the database or the broker is away or busy."""
    if isinstance(fault, (OSError, TimeoutError, PoolTimeout, InterfaceError, KafkaConnectionError)):
        return True
    if isinstance(fault, KafkaError):
        return bool(fault.retriable)
    if isinstance(fault, DBAPIError):
        if fault.connection_invalidated or isinstance(fault, OperationalError):
            return True
        return isinstance(fault.orig, (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected))
    return isinstance(fault, (psycopg.OperationalError, psycopg.InterfaceError))


def backoff(first: float = 0.05, most: float = 10.0) -> Iterator[float]:
    """Seconds to wait before each further attempt: doubling, with jitter of half on either side."""
    delay = first
    while True:
        yield delay * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
        delay = min(delay * 2, most)
