"""A header without a value is allowed on Kafka, and stops nobody."""

import pytest
from aiokafka import AIOKafkaProducer

from shared.ids import new_id
from shared.messaging.kafka import KafkaSource, create_topics
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.positions import LogIdentity
from shared.messaging.records import TopicPartition, headers_of

pytestmark = pytest.mark.kafka


async def test_a_null_header_is_read_as_an_empty_one(kafka_bootstrap: str) -> None:
    topic, connection = f"null-headers-{new_id()}", KafkaConnection(kafka_bootstrap)
    await create_topics(connection, [topic], 1)
    producer = AIOKafkaProducer(**connection.client)
    await producer.start()
    await producer.send_and_wait(topic, b"value", headers=[("ce_type", None), ("other", b"x")])
    await producer.stop()

    async def positions(earliest: dict[TopicPartition, int], _: dict[str, LogIdentity]) -> dict[TopicPartition, int]:
        return earliest

    source = KafkaSource(connection)
    await source.start(topic, [topic], positions)  # type: ignore[arg-type] # a mapping is a dictionary here
    try:
        batches = []
        for _ in range(60):
            if batches := await source.fetch(10, 0.5):
                break
        (batch,) = batches
        assert headers_of(batch.records[0]) == {"ce_type": b"", "other": b"x"}
    finally:
        await source.stop()
