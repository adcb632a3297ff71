"""A plugin of the tests: `kafka_bootstrap`, a real Apache Kafka shared by all tests of a process.

BRANCHLINE_KAFKA=host:port is used as it is. Without it a broker is started, once and only if a test asks for it; in a
run with -n each process has one of its own, which takes 180 MB and cannot be in another's way.
BRANCHLINE_REQUIRE_KAFKA=1 makes going without a failure.
"""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.kafka_broker import CACHE, KafkaBroker, NoKafka, answers, missing
from tests.surroundings import do_without

WHAT, INSIST = "a real Kafka", "BRANCHLINE_REQUIRE_KAFKA"


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> Iterator[str]:
    """`host:port` of a real Apache Kafka. Topics are the test's own to name, create and delete."""
    given = os.environ.get("BRANCHLINE_KAFKA", "")
    if given:
        host, _, port = given.partition(",")[0].rpartition(":")
        if not (port.isdigit() and answers(host, int(port))):
            pytest.fail(f"BRANCHLINE_KAFKA={given}: no Kafka answers there", pytrace=False)
        yield given
        return
    broker = started(request.config)
    failed_before = request.session.testsfailed
    yield broker.bootstrap
    if request.session.testsfailed > failed_before:
        process = os.environ.get("PYTEST_XDIST_WORKER", "tests")
        shutil.copyfile(broker.log, CACHE / f"broker-{process}.log")
    broker.stop()


@pytest.fixture
def kafka_broker(request: pytest.FixtureRequest) -> Iterator[KafkaBroker]:
    """A broker of the test's own, to kill and to start again."""
    broker = started(request.config)
    yield broker
    broker.stop()


def started(config: pytest.Config) -> KafkaBroker:
    """A running broker, or the test ends here."""
    if lacking := missing():
        do_without(config, WHAT, lacking, INSIST)
    broker = KafkaBroker()
    try:
        broker.start()
    except NoKafka as fault:
        broker.kill()
        do_without(config, WHAT, str(fault), INSIST)
    return broker
