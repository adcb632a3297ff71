"""The service processes of a torture: started, killed, paused, and asked to end, each by its own number."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GRACE_SECONDS = 25.0
"""For a service to end after SIGTERM: 10 s for what it has begun, 3 s for requests, 5 s to leave the group; loaded."""

SERVES_WITHIN_SECONDS = 60.0


class Ended(Exception):
    """A service process ended that nobody had ended."""


class Worker:
    """One process of one service, `name` is `<service>.<replica>`. What it logs is kept over its restarts."""

    def __init__(self, name: str, port: int, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._port = port
        self.service = name.partition(".")[0]
        self.log = log
        self.is_paused = False
        self._asked_at = 0.0
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # The guard reads until this process lets go of the pipe, which even a kill -9 makes it do.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r _; kill -9 {self._process.pid}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def check(self) -> None:
        """Raises Ended."""
        if self._process is not None and not self._asked_at and (code := self._process.poll()) is not None:
            raise Ended(f"{self.name} ended by itself with {code}; its log closes:\n{self.end_of_log()}")

    def wait_until_it_serves(self) -> None:
        """Raises Ended, also when it takes too long."""
        deadline = time.monotonic() + SERVES_WITHIN_SECONDS
        while not self._answers():
            self.check()
            if time.monotonic() > deadline:
                raise Ended(f"{self.name} does not serve within {SERVES_WITHIN_SECONDS:.0f} s of its start")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
            return True
        return False

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._reap(10)

    def terminate(self) -> tuple[int | None, float]:
        """Asks it to end; returns its exit code, None when it had to be killed, and the seconds that it took."""
        self.ask_to_end()
        return self.await_end()

    def ask_to_end(self) -> None:
        self._asked_at = time.monotonic()
        self._signal(signal.SIGTERM)

    def await_end(self) -> tuple[int | None, float]:
        code = self._reap(GRACE_SECONDS)
        seconds = time.monotonic() - self._asked_at
        self._asked_at = 0.0
        if code is None:
            self.kill()
        return code, seconds

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        self.is_paused = False

    def end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _reap(self, seconds: float) -> int | None:
        if self._process is None:
            return None
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
        self._process = self._guard = None
        self.is_paused = False
        return code


def serve_command(service: str, port: int, without: str | None) -> list[str]:
    """`branchline serve`, or the same with a guard taken out."""
    entry = ["tests.torture.sabotage", without] if without else ["services.cli"]
    return [sys.executable, "-m", *entry, "serve", service, "--port", str(port)]
