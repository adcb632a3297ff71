"""How a bank's Kafka is reached: in the clear, by TLS, with SASL, as the bank has it."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.settings import KafkaSecurity, PlatformSettings, SaslMechanism


@dataclass(frozen=True)
class KafkaConnection:
    """`bootstrap` is `host:port` of some brokers, separated by commas."""

    bootstrap: str
    security: KafkaSecurity = KafkaSecurity.PLAINTEXT
    sasl_mechanism: SaslMechanism = SaslMechanism.SCRAM_SHA_512
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    @property
    def client(self) -> dict[str, Any]:
        """What every client of aiokafka is made with."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.security.value}
        if self.security.has_tls:
            options["ssl_context"] = self._ssl_context()
        if self.security.has_sasl:
            options |= {
                "sasl_mechanism": self.sasl_mechanism.value,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file)
        return context


def kafka_connection(settings: PlatformSettings) -> KafkaConnection | None:
    """None where the settings name no Kafka."""
    if settings.kafka is None:
        return None
    password = settings.kafka_password
    return KafkaConnection(
        bootstrap=settings.kafka,
        security=settings.kafka_security,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_username,
        password=password.get_secret_value() if password else None,
        ca_file=settings.kafka_ca_file,
        certificate_file=settings.kafka_certificate_file,
        key_file=settings.kafka_key_file,
    )
