"""Asks a running demo's issuer for a token."""

from collections.abc import Sequence

import httpx


class TokenRefused(Exception):
    """No demo answers, or it refuses; the text says which."""


def ask_for_token(url: str, role: str, branch_id: str | None, staff_id: str | None, scopes: Sequence[str]) -> str:
    """Raises TokenRefused."""
    body = {"role": role, "branch_id": branch_id, "staff_id": staff_id, "scopes": list(scopes)}
    try:
        answer = httpx.post(f"{url}/demo/token", json=body, timeout=10)
    except httpx.HTTPError:
        raise TokenRefused(f"no demo answers on {url}; start one with `make demo`.") from None
    if answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        faults = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in answer.json()["detail"])
        raise TokenRefused(f"{faults}.")
    if answer.status_code != httpx.codes.OK:
        raise TokenRefused(f"{url} is no demo of Branchline (it answers {answer.status_code}).")
    return str(answer.json()["access_token"])
