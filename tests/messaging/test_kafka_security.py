"""A bank's Kafka asks who comes and shows who it is: SASL over TLS, on a real broker."""

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from shared.messaging.faults import Away
from shared.messaging.kafka import KafkaPublisher, KafkaSource, create_topics
from shared.messaging.kafka_connection import KafkaConnection
from shared.messaging.positions import LogIdentity
from shared.messaging.records import NotSent, Outgoing, TopicPartition
from shared.settings import KafkaSecurity, PlatformSettings, SaslMechanism
from tests.kafka_broker import KafkaBroker, NoKafka, free_ports, missing
from tests.surroundings import do_without

pytestmark = pytest.mark.kafka

USERNAME, PASSWORD, TOPIC = "branchline", "a-secret-of-this-test", "secured"


class SecuredBroker(KafkaBroker):
    """A broker with one more listener, which asks for SASL over TLS."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._certificate = folder / "broker.pem"
        self.ca_file = folder / "ca.pem"
        self.secured_port = 0
        _make_certificate(self._certificate, self.ca_file)

    def _format(self) -> None:
        super()._format()
        (self.secured_port,) = free_ports(1)
        text = self._properties.read_text().replace(
            ",CONTROLLER://", f",SASL_SSL://127.0.0.1:{self.secured_port},CONTROLLER://"
        )
        self._properties.write_text(
            f"""{text}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{USERNAME}="{PASSWORD}";
ssl.keystore.type=PEM
ssl.keystore.location={self._certificate}
"""
        )


def _make_certificate(path: Path, ca_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    path.write_bytes(private + public)
    ca_file.write_bytes(public)


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    if lacking := missing():
        do_without(request.config, "a real Kafka", lacking, "BRANCHLINE_REQUIRE_KAFKA")
    broker = SecuredBroker(tmp_path_factory.mktemp("secured"))
    try:
        broker.start()
    except NoKafka as fault:
        broker.kill()
        do_without(request.config, "a real Kafka", str(fault), "BRANCHLINE_REQUIRE_KAFKA")
    yield broker
    broker.stop()


@pytest.fixture
def connection(broker: SecuredBroker) -> KafkaConnection:
    return KafkaConnection(
        bootstrap=f"127.0.0.1:{broker.secured_port}",
        security=KafkaSecurity.SASL_SSL,
        sasl_mechanism=SaslMechanism.PLAIN,
        username=USERNAME,
        password=PASSWORD,
        ca_file=broker.ca_file,
    )


async def test_who_logs_in_over_tls_publishes_and_reads(connection: KafkaConnection) -> None:
    await create_topics(connection, [TOPIC], 1)
    publisher = KafkaPublisher(connection)
    await publisher.send([Outgoing(TOPIC, b"key", b"value", ())])
    await publisher.close()

    async def positions(earliest: dict[TopicPartition, int], _: dict[str, LogIdentity]) -> dict[TopicPartition, int]:
        return earliest

    source = KafkaSource(connection)
    await source.start("secured", [TOPIC], positions)  # type: ignore[arg-type] # a mapping is a dictionary here
    try:
        batches = []
        for _ in range(60):
            if batches := await source.fetch(10, 0.5):
                break
        (batch,) = batches
        assert [(record.key, record.value) for record in batch.records] == [(b"key", b"value")]
    finally:
        await source.stop()


async def test_a_wrong_password_gets_nothing_through(connection: KafkaConnection) -> None:
    stranger = KafkaPublisher(replace(connection, password="a guess"))
    with pytest.raises(NotSent):
        await stranger.send([Outgoing(TOPIC, b"key", b"value", ())])


async def test_a_broker_that_another_authority_vouches_for_is_not_talked_to(
    connection: KafkaConnection, tmp_path: Path
) -> None:
    _make_certificate(tmp_path / "other.pem", tmp_path / "other-ca.pem")
    publisher = KafkaPublisher(replace(connection, ca_file=tmp_path / "other-ca.pem"))
    with pytest.raises((NotSent, Away)):
        await publisher.send([Outgoing(TOPIC, b"key", b"value", ())])


def test_sasl_without_anybody_to_log_in_as_is_refused_at_start() -> None:
    with pytest.raises(ValidationError, match="kafka_username"):
        PlatformSettings(kafka="kafka:9093", kafka_security=KafkaSecurity.SASL_SSL)
