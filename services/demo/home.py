"""What the demo keeps in its folder: the database, the issuer's key, the mails, and how far the sample bank is."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import msgspec


class SampleBankState(msgspec.Struct, kw_only=True):
    """Which sample bank this is, and how much of it the customer service has confirmed."""

    seed: int
    until: date
    closed_through: date
    confirmed_lines: int = 0
    is_open: bool = False


class HomeInUse(Exception):
    """Another demo runs in this folder."""


class Home:
    """A folder of one demo. What is written here is whole or not there, also after kill -9."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def audit_keys(self) -> Path:
        return self.folder / "audit.keys"

    @property
    def master_keys(self) -> Path:
        return self.folder / "master.keys"

    @staticmethod
    def write_secret(path: Path, secret: str) -> None:
        """For this user's eyes only."""
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(secret)
        draft.replace(path)

    @property
    def mails(self) -> Path:
        return self.folder / "mails"

    @property
    def log(self) -> Path:
        return self.folder / "branchline.log"

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Holds the folder for this process; raises HomeInUse."""
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeInUse from None
            yield

    def read_state(self) -> SampleBankState | None:
        path = self.folder / "sample-bank.json"
        return msgspec.json.decode(path.read_bytes(), type=SampleBankState) if path.exists() else None

    def write_state(self, state: SampleBankState) -> None:
        path = self.folder / "sample-bank.json"
        draft = path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
