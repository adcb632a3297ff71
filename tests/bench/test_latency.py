"""The way from an event to its alert, measured on a tiny bank: the real services still take it."""

import pytest

from bench.latency import SHARES, measure_latency
from bench.line import started_line
from bench.servers import Servers
from shared.embedded_postgres import EmbeddedPostgres
from tests.kafka_broker import KafkaBroker


@pytest.mark.kafka
def test_every_probe_becomes_an_alert(postgres: EmbeddedPostgres, kafka_broker: KafkaBroker) -> None:
    with started_line(Servers(postgres, kafka_broker.bootstrap)) as line:
        found = measure_latency(line, customers=40, backlog=200, probes=5, seconds=1.0)
    assert [(level.share, level.probes, level.unseen) for level in found.levels] == [(each, 5, 0) for each in SHARES]
    assert all(0 < level.p50_ms <= level.p99_ms for level in found.levels)
    assert all(0 < level.broker_p50_ms < level.p50_ms for level in found.levels)
    assert set(found.peak_bytes) == {"customer", "interaction", "scoring", "notification"}
