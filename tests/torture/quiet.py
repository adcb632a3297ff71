"""When nothing is under way any more: logs are read to their ends, outboxes are empty, what was due is done."""

import time

from aiokafka.errors import KafkaError

from services.catalog import SERVICES, compose
from shared.settings import PlatformSettings
from tests.torture.line import Line
from tests.torture.topics import log_ends

LOOKS = 3
DUE = {
    "scoring": "select count(*) from customer_score s join business_day b using (partition)"
    " where s.due_on <= b.last_closed_on",
    "notification": "select (select count(*) from delivery where state = 'pending')"
    " + (select count(*) from alert where state = 'unresolved')",
}


class NotQuiet(Exception):
    """Something is still under way, or stuck."""


def heard_topics() -> dict[str, tuple[str, ...]]:
    """By service."""
    return {service: compose(service, PlatformSettings()).subscriptions.topics for service in SERVICES}


def wait_until_quiet(line: Line, seconds: float) -> None:
    """Raises NotQuiet, with what is under way, and Ended."""
    deadline = time.monotonic() + seconds
    heard = heard_topics()
    looks = 0
    while looks < LOOKS:
        line.check()
        try:
            under_way = _under_way(line, heard)
        except (KafkaError, TimeoutError) as fault:
            under_way = [type(fault).__name__]
        looks = 0 if under_way else looks + 1
        if time.monotonic() > deadline:
            raise NotQuiet(f"not quiet within {seconds:.0f} s: {'; '.join(under_way)}")
        time.sleep(0.5)


def _under_way(line: Line, heard: dict[str, tuple[str, ...]]) -> list[str]:
    busy = []
    ends = log_ends(line.kafka)
    for service in SERVICES:
        ((waiting,),) = line.rows(service, "select count(*) from outbox")
        if waiting:
            busy.append(f"{waiting} events in {service}'s outbox")
        if service in DUE:
            ((due,),) = line.rows(service, DUE[service])
            if due:
                busy.append(f"{due} due in {service}")
        rows = line.rows(service, "select topic, partition, next_offset from consumer_offset")
        read = {(topic, partition): offset for topic, partition, offset in rows}
        behind = {at: end - read.get(at, 0) for at, end in ends.items() if at[0] in heard[service]}
        if unread := sum(count for count in behind.values() if count > 0):
            busy.append(f"{unread} records before {service}")
    return busy
