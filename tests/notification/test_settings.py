"""A setting that cannot work is refused when the service starts, not when the first mail goes."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.notification.settings import NotificationSettings, SmtpTls


@pytest.mark.parametrize(
    "wrong",
    [
        {"smtp_username": "branchline"},
        {"smtp_password": "secret"},
        {"smtp_username": "branchline", "smtp_password": "secret", "smtp_tls": "none"},
        {"smtp_tls": "ssl"},
        {"smtp_from": "nobody"},
        {"smtp_from": "Branchline <branchline@bank.example>"},
        {"smtp_from": "a@b@c"},
        {"smtp_port": 0},
        {"customer_url": "https://bank.example/{name}"},
        {"customer_url": "https://bank.example/{customer_id.hex}"},
        {"customer_url": "https://bank.example/{"},
        {"mail_attempts": 0},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NotificationSettings(**wrong)


def test_a_password_is_not_shown() -> None:
    settings = NotificationSettings(smtp_username="branchline", smtp_password="hush")  # type: ignore[arg-type] # pydantic makes a secret of it
    assert "hush" not in repr(settings)


def test_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SMTP_HOST": "relay",
        "SMTP_PORT": "2525",
        "SMTP_TLS": "none",
        "SMTP_CA_FILE": "ca.pem",
    }.items():
        monkeypatch.setenv(f"NOTIFICATION_{name}", value)
    settings = NotificationSettings()
    assert (settings.smtp_host, settings.smtp_port) == ("relay", 2525)
    assert (settings.smtp_tls, settings.smtp_ca_file) == (SmtpTls.NONE, Path("ca.pem"))
