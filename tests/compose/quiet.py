"""When nothing is under way any more: outboxes are empty, logs are read to their ends, what was due is done."""

import time

from tests.compose.line import DATABASES, Line, Unhealthy

QUIET_WITHIN_SECONDS = 240.0
QUIET_LOOKS = 3
ENDS = """
import asyncio, json, os
from aiokafka import AIOKafkaConsumer
from shared.events import TOPICS

async def ends():
    consumer = AIOKafkaConsumer(*TOPICS, bootstrap_servers=os.environ["BRANCHLINE_KAFKA"])
    await consumer.start()
    try:
        asked = consumer.assignment()
        assert {at.topic for at in asked} == set(TOPICS)
        return {f"{at.topic}/{at.partition}": end for at, end in (await consumer.end_offsets(asked)).items() if end}
    finally:
        await consumer.stop()

print(json.dumps(asyncio.run(ends())))
"""


DUE = {
    "scoring": (
        "customers to be scored",
        "select count(*) as count from customer_score s join business_day b using (partition)"
        " where s.due_on <= b.last_closed_on",
    ),
    "notification": ("deliveries to be made", "select count(*) as count from delivery where state = 'pending'"),
}


def wait_until_quiet(line: Line) -> None:
    """Raises Unhealthy, with what is still under way."""
    deadline = time.monotonic() + QUIET_WITHIN_SECONDS
    looks = 0
    while looks < QUIET_LOOKS:
        under_way = what_is_under_way(line)
        # One look sees the services one after the other, and an event may pass behind its back.
        looks = 0 if under_way else looks + 1
        if time.monotonic() > deadline:
            raise Unhealthy(f"the line is not quiet within {QUIET_WITHIN_SECONDS:.0f} s: {under_way}")
        time.sleep(1)


def what_is_under_way(line: Line) -> list[str]:
    busy = []
    for database in DATABASES:
        waiting = line.rows(database, "select count(*) as count from outbox")[0]["count"]
        if waiting:
            busy.append(f"{waiting} events in {database}'s outbox")
    for database, (what, query) in DUE.items():
        due = line.rows(database, query)[0]["count"]
        if due:
            busy.append(f"{due} {what}")
    ends: dict[str, int] = line.python("customer", ENDS)
    for database in DATABASES:
        rows = line.rows(database, "select topic, partition, next_offset from consumer_offset")
        read = {f"{row['topic']}/{row['partition']}": row["next_offset"] for row in rows}
        heard = {row["topic"] for row in rows}
        behind = sum(
            end - read.get(at, 0) for at, end in ends.items() if at.partition("/")[0] in heard and read.get(at, 0) < end
        )
        if behind:
            busy.append(f"{behind} events before {database}")
    return busy
