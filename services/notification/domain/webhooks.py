"""What a webhook about an alert says, and how it is signed: Standard Webhooks 1.0.0, symmetric (HMAC-SHA-256).

It names the customer by id, the reasons by code: the receiver asks, with a token of its own, for what it may see.
"""

import hmac
import json
import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

SECRET_BYTES = 32
"""Of 24 to 64."""
TYPE = "churn_alert.raised"


@dataclass(frozen=True)
class AlertNotice:
    """What one webhook tells. `delivery_id` is its identity: sent again it is the same message."""

    delivery_id: UUID
    alert_id: UUID
    customer_id: UUID
    link: str
    raised_on: date
    points: int
    reasons: Sequence[tuple[str, int]]
    """Codes and points."""
    created_at: datetime


def make_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def written_secret(secret: bytes) -> str:
    """As its owner is shown it."""
    return f"whsec_{b64encode(secret).decode()}"


def write_notice(notice: AlertNotice) -> bytes:
    """The same bytes every time."""
    told = {
        "type": TYPE,
        "timestamp": notice.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "data": {
            "alert_id": str(notice.alert_id),
            "customer_id": str(notice.customer_id),
            "raised_on": notice.raised_on.isoformat(),
            "points": notice.points,
            "reasons": [{"code": code, "points": points} for code, points in notice.reasons],
            "link": notice.link,
        },
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def signed_headers(secret: bytes, delivery_id: UUID, body: bytes, now: datetime) -> dict[str, str]:
    """The receiver refuses what is signed otherwise, or long ago: each attempt has its own."""
    timestamp = int(now.timestamp())
    signed = hmac.digest(secret, f"{delivery_id}.{timestamp}.".encode() + body, "sha256")
    return {
        "Content-Type": "application/json",
        "Webhook-Id": str(delivery_id),
        "Webhook-Timestamp": str(timestamp),
        "Webhook-Signature": f"v1,{b64encode(signed).decode()}",
    }
