"""The bank's managers at work: each alert is acknowledged, talked about and settled, whatever is being killed."""

import threading
from collections import Counter
from typing import Any

import httpx

from tests.compose.bank import Bank
from tests.compose.stream import Door

NOT_YET, CLOSED = 404, 409
ROUNDS_APART_SECONDS = 1.0
LOOKED_AT_BEFORE = 3
"""Rounds in which an alert is only looked at, so that most e-mails leave before their alert is settled."""


class Staff(threading.Thread):
    """Works until `go_home`. `settled` are the alerts of which a contact and an outcome were recorded."""

    def __init__(self, door: Door, bank: Bank) -> None:
        super().__init__(name="staff", daemon=True)
        self.go_home = threading.Event()
        self.settled: set[str] = set()
        self.fault: BaseException | None = None
        self._door = door
        self._looked_at: Counter[str] = Counter()
        self._managers = sorted(bank.managers.items())

    def run(self) -> None:
        try:
            tokens = [
                self._door.token("manager", staff_id=manager_id, branch_id=branch_id)
                for manager_id, branch_id in self._managers
            ]
            while not self.go_home.wait(ROUNDS_APART_SECONDS):
                for token in tokens:
                    for item in self._door.pages("/api/notification/v1/inbox", token, state="open"):
                        self._work_on(item, token)
        except BaseException as fault:  # noqa: BLE001, RUF100 - told to whoever waits
            self.fault = fault

    def _work_on(self, item: dict[str, Any], token: str) -> None:
        """Nothing is acknowledged before it can be settled: what is acknowledged is not looked at again."""
        self._looked_at[item["alert_id"]] += 1
        if self._looked_at[item["alert_id"]] <= LOOKED_AT_BEFORE:
            return
        alert_id, customer = item["alert_id"], f"/api/interaction/v1/customers/{item['customer_id']}"
        contact = {"channel": "call", "alert_id": alert_id}
        if self._post(f"{customer}/contacts", token, f"contact-{alert_id}", contact).status_code == NOT_YET:
            return
        self._post(f"{customer}/outcomes", token, f"outcome-{alert_id}", {"alert_id": alert_id, "outcome": "saved"})
        self._post(f"/api/notification/v1/inbox/{item['item_id']}/acknowledge", token, f"seen-{alert_id}", None)
        self.settled.add(alert_id)

    def _post(self, path: str, token: str, key: str, body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        return self._door.request("POST", path, accepted={NOT_YET, CLOSED}, headers=headers, json=body)
