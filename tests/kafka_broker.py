"""A real Apache Kafka for the tests: one KRaft node, a process of its own, on loopback."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POM = ROOT / "tests" / "kafka" / "pom.xml"
CACHE = ROOT / ".cache" / "kafka"
OLDEST_JAVA = 17
CLUSTER_ID = "YnJhbmNobGluZS10ZXN0cw"
# Starts in about two seconds and stays small; `*` is every jar of the folder.
JAVA = ("java", "-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
INFO_LOG = "-Dorg.apache.logging.log4j.level=INFO"
READY_WITHIN_SECONDS = 60.0
STOPPED_WITHIN_SECONDS = 20.0


class NoKafka(Exception):
    """There is no broker to be had; the message says what is missing."""


def missing() -> str | None:
    """What this machine lacks to run a broker, in words; None when it lacks nothing."""
    if not shutil.which("java"):
        return "no java"
    if not shutil.which("mvn"):
        return "no mvn (Maven)"
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if not version:
        return "java does not tell its version"
    if int(version[1]) < OLDEST_JAVA:
        return f"java is {version[1]}, Kafka needs {OLDEST_JAVA} or later"
    return None


def jars() -> Path:
    """The folder of the broker's jars: copied there by Maven once for each state of the pom. Raises NoKafka."""
    folder = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=CACHE) as unfinished:
        fcntl.flock(lock, fcntl.LOCK_EX)  # what Maven keeps of its own is not made for two at a time
        if folder.is_dir():  # another run was quicker
            return folder
        copied = Path(unfinished) / "jars"
        maven = subprocess.run(
            [
                *("mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", f"-DoutputDirectory={copied}"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if maven.returncode:
            raise NoKafka(f"Maven could not bring the broker's jars:\n{maven.stdout[-2000:]}{maven.stderr[-2000:]}")
        copied.rename(folder)
    return folder


class KafkaBroker:
    """Start it, use `bootstrap`, stop it. `kill` and `start` again keep its ports and what it holds.

    It ends with the process that started it, however that ends. `settings` are the broker's, over those here.
    """

    def __init__(self, home: Path | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        self._settings = settings or {}
        self._home = home or Path(tempfile.mkdtemp(prefix="branchline-kafka-"))
        self.log = self._home / "broker.log"
        self._properties = self._home / "server.properties"
        self._broker: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._jars = Path()
        self.port = 0

    @property
    def process_id(self) -> int:
        assert self._broker is not None, "the broker is not running"
        return self._broker.pid

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when the broker answers. Raises NoKafka, with the end of the broker's log."""
        self._jars = jars()
        if self.port:
            self._run()
            return
        for attempt in range(3):
            self._format()
            try:
                self._run()
            except NoKafka:
                self.kill()
                # A port that was free a moment ago may have been taken since.
                if attempt == 2 or "Address already in use" not in self._end_of_log():
                    raise
            else:
                return

    def stop(self) -> None:
        """Ends the broker in order and removes what it held."""
        self._end(signal.SIGTERM)
        shutil.rmtree(self._home, ignore_errors=True)

    def kill(self) -> None:
        """Ends the broker as a power cut would."""
        self._end(signal.SIGKILL)

    def _format(self) -> None:
        held = self._home / "held"
        shutil.rmtree(held, ignore_errors=True)
        self.port, controller_port = free_ports(2)
        self._properties.write_text(
            f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller_port}
log.dirs={held}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.cleaner.dedupe.buffer.size=8388608
log.index.size.max.bytes=1048576
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
num.network.threads=2
num.io.threads=4
"""
            + "".join(f"{name}={value}\n" for name, value in self._settings.items())
        )
        formatted = subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._properties)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if formatted.returncode:
            raise NoKafka(f"the broker's storage could not be formatted:\n{formatted.stdout}{formatted.stderr}")

    def _run(self) -> None:
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is the test run's to take, which then ends the broker in order.
            self._broker = subprocess.Popen(
                [*self._java(INFO_LOG), "kafka.Kafka", str(self._properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # The guard reads until this process lets go of the pipe, which even a kill -9 makes it do.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", f"read -r _; kill -9 {self._broker.pid}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not answers("127.0.0.1", self.port):
            if self._broker.poll() is not None:
                raise NoKafka(f"the broker ended while it started; its log ({self.log}) closes:\n{self._end_of_log()}")
            if time.monotonic() > deadline:
                raise NoKafka(f"the broker gave no answer; its log ({self.log}) closes:\n{self._end_of_log()}")
            time.sleep(0.1)

    def _end(self, signal_number: int) -> None:
        broker, guard = self._broker, self._guard
        self._broker = self._guard = None
        if guard is not None:
            guard.kill()  # before the broker: its number may belong to another process afterwards
            guard.communicate()
        if broker is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(broker.pid, signal_number)
        try:
            broker.wait(STOPPED_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            broker.kill()
            broker.wait()

    def _java(self, *options: str) -> list[str]:
        return [*JAVA, *options, "-cp", f"{self._jars}/*"]

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:]) if self.log.exists() else ""


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def answers(host: str, port: int) -> bool:
    """Whether a Kafka broker there answers an ApiVersions request (key 18, version 0)."""
    client = b"branchline-tests"
    body = struct.pack(">hhih", 18, 0, 1, len(client)) + client
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        answer = b""
        while len(answer) < 10:
            received = connection.recv(64)
            if not received:
                return False
            answer += received
        _, correlation, error = struct.unpack(">iih", answer[:10])
        return bool(correlation == 1 and error == 0)
    return False
