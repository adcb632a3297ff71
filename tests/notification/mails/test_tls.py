"""A relay is told nothing before it has shown who it is."""

import ssl
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared.database import Database
from tests.conftest import NewDatabase
from tests.notification.bank import (
    M1,
    Watch,
    mail_of,
    notifying,
    told,
)
from tests.notification.relay import ScriptedRelay, relaying, send_mails


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A relay's TLS and the certificate that it is known by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromisoformat("2020-01-01T00:00:00+00:00"))
        .not_valid_after(datetime.fromisoformat("2100-01-01T00:00:00+00:00"))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "relay.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "relay.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "relay.pem", folder / "relay.key")
    return context, folder / "relay.pem"


@pytest.mark.parametrize(
    ("password", "state", "code"), [("right", "delivered", None), ("wrong", "pending", "smtp_535")]
)
async def test_a_password_is_told_to_the_relay_that_the_certificate_names(
    database: Database,
    watch: Watch,
    certificate: tuple[ssl.SSLContext, Path],
    password: str,
    state: str,
    code: str | None,
) -> None:
    relay = ScriptedRelay()
    context, ca_file = certificate
    settings = {"smtp_tls": "starttls", "smtp_ca_file": ca_file, "smtp_username": "branchline"}
    async with (
        relaying(relay, context, require_starttls=True, auth_required=True) as port,
        notifying(database, watch, smtp_port=port, smtp_password=password, **settings) as notification,
    ):
        raised = await told(notification)
        await send_mails(notification)
        delivery = await mail_of(notification, raised)
        assert (delivery["state"], delivery["code"]) == (state, code)
    assert relay.logins[0] == (b"branchline", password.encode())
    assert relay.encrypted == [True] * len(relay.accepted)


async def test_a_relay_with_an_unknown_certificate_or_without_tls_gets_no_mail(
    database: Database, watch: Watch, certificate: tuple[ssl.SSLContext, Path], new_database: NewDatabase
) -> None:
    settings = {"smtp_tls": "starttls", "smtp_username": "branchline", "smtp_password": "right"}
    for tls, code, where in (
        (certificate[0], "tls_failed", database),
        (None, "tls_or_login_not_offered", await new_database("notification")),
    ):
        relay = ScriptedRelay()
        async with (
            relaying(relay, tls) as port,
            notifying(where, watch, smtp_port=port, **settings) as notification,
        ):
            raised = await told(notification)
            await send_mails(notification)
            assert (await mail_of(notification, raised, M1))["code"] == code
        assert (relay.accepted, relay.logins) == ([], [])
