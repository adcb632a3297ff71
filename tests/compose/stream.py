"""The core's stream through the gateway: sent until it is answered, and now and then once more."""

import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import httpx

BATCH = 40
SENT_TWICE = 0.05
GIVE_UP_AFTER_SECONDS = 120.0
TRY_AGAIN = {401, 429, 500, 502, 503, 504}


class NoAnswer(Exception):
    """A request was not answered however often it was sent."""


class Door:
    """The gateway as its callers see it. A request is sent until it is answered: it must be safe to send again."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=20, trust_env=False)
        self.refused: Counter[str] = Counter()

    def token(self, role: str, **claims: object) -> str:
        return str(self.request("POST", "/demo/token", json={"role": role, **claims}).json()["access_token"])

    def request(self, method: str, path: str, *, accepted: Collection[int] = (), **options: object) -> httpx.Response:
        """The first answer that is none of a fault on the way.

        Raises NoAnswer, and HTTPStatusError for a status of 400 or more that is not `accepted`.
        """
        deadline = time.monotonic() + GIVE_UP_AFTER_SECONDS
        while True:
            try:
                answer = self._http.request(method, path, **options)  # type: ignore[arg-type] # passed on
                under_way = answer.status_code == 409 and "Retry-After" in answer.headers
                if answer.status_code not in TRY_AGAIN and not under_way:
                    if answer.status_code not in accepted:
                        answer.raise_for_status()
                    return answer
                fault = str(answer.status_code)
            except httpx.TransportError as broken:
                fault = type(broken).__name__
            self.refused[fault] += 1
            if time.monotonic() > deadline:
                raise NoAnswer(f"{method} {path}: {fault} for {GIVE_UP_AFTER_SECONDS:.0f} s")
            time.sleep(0.2)

    def read(self, path: str, token: str, **query: str) -> Any:
        return self.request("GET", path, params=query, headers={"Authorization": f"Bearer {token}"}).json()

    def pages(self, path: str, token: str, **query: str) -> Iterator[Any]:
        """The items of every page of a list."""
        page = self.read(path, token, limit="200", **query)
        yield from page["items"]
        while page["next"] is not None:
            page = self.read(path, token, limit="200", cursor=page["next"], **query)
            yield from page["items"]

    def mails(self) -> Iterator[dict[str, str]]:
        """What the mail sink holds, over all its pages."""
        page = 1
        while items := self.request(
            "GET", "/demo/mails/", params={"page": str(page)}, headers={"Accept": "application/json"}
        ).json()["items"]:
            yield from items
            page += 1


class Stream(threading.Thread):
    """Sends every line, at a leisurely pace until `hurry` is set. `check` raises what went wrong."""

    def __init__(self, door: Door, lines: Sequence[bytes], *, seconds_between: float) -> None:
        super().__init__(name="core-banking", daemon=True)
        self.hurry = threading.Event()
        self.answered = 0
        self.outcomes: Counter[str] = Counter()
        self._door = door
        self._lines = lines
        self._seconds_between = seconds_between
        self._fault: BaseException | None = None

    def run(self) -> None:
        dice = random.Random(len(self._lines))
        try:
            token = self._door.token("service", scopes=["corebanking:write"])
            for first in range(0, len(self._lines), BATCH):
                body = b"\n".join(self._lines[first : first + BATCH])
                self._send(token, body)
                if dice.random() < SENT_TWICE:
                    self._send(token, body)
                self.answered = min(first + BATCH, len(self._lines))
                self.hurry.wait(self._seconds_between)
        except BaseException as fault:  # noqa: BLE001, RUF100 - told to whoever joins
            self._fault = fault

    def check(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _send(self, token: str, body: bytes) -> None:
        answer = self._door.request(
            "POST",
            "/api/customer/v1/core-banking/events",
            content=body,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
        ).json()
        for outcome in ("applied", "held", "parked", "duplicate"):
            self.outcomes[outcome] += answer[outcome]
