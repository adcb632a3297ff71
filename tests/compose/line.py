"""The whole line in containers, as docker-compose.yml puts it together, with a name, a port and secrets of its own."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.compose.engine import ROOT, run
from tests.kafka_broker import free_ports

CACHE = ROOT / ".cache" / "compose-test"
IMAGE = "branchline:test"
HEALTHY_WITHIN_SECONDS = 180.0

DATABASES = ("customer", "interaction", "scoring", "notification")

Container = dict[str, Any]


class Unhealthy(Exception):
    """A container is not what it should be by now."""


class Line:
    def __init__(self, compose: list[str]) -> None:
        self.compose = compose
        self.project = "branchline-test-v2" if compose[-1] == "compose" else "branchline-test-v1"
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self._secrets = CACHE / f"{self.project}.env"
        self._environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.project,
            "BRANCHLINE_PORT": str(self.port),
            "BRANCHLINE_IMAGE": IMAGE,
        }

    @contextmanager
    def up(self) -> Iterator[None]:
        """Builds and starts everything and waits until it is healthy; takes it down, whatever happens."""
        CACHE.mkdir(parents=True, exist_ok=True)
        self._secrets.touch(mode=0o600)
        self._secrets.write_text(run(ROOT / "deploy" / "compose" / "secrets"))
        self.down()  # what a run left that could not end
        try:
            self._compose("build")
            self._compose("up", "--detach")
            self._wait_until(lambda: all(map(is_healthy, self.containers().values())), "the line")
            yield
        except BaseException:
            self._show_logs()
            raise
        finally:
            self.down()
            self._secrets.unlink()

    def down(self) -> None:
        self._compose("down", "--volumes", "--remove-orphans", "--timeout", "20")

    def containers(self) -> dict[str, Container]:
        """What the engine knows of each container, by the service's name."""
        ids = run("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}").split()
        known = json.loads(run("docker", "inspect", *ids)) if ids else []
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in known}

    def kill_and_wait(self, service: str) -> None:
        """Kills the service's process and waits until its restart policy has brought it back, healthy.

        From the engine's own process table: `docker kill` would count as wanted, and nothing would restart.
        """
        before = self.containers()[service]
        kill = "import os, sys; os.kill(int(sys.argv[1]), 9)"
        run(
            *("docker", "run", "--rm", "--pid=host", "--network=none", "--user=0", "--entrypoint=python", IMAGE),
            *("-I", "-c", kill, str(before["State"]["Pid"])),
        )

        def is_back() -> bool:
            now = self.containers()[service]
            return bool(now["State"]["StartedAt"] != before["State"]["StartedAt"]) and is_healthy(now)

        self._wait_until(is_back, service)

    def rows(self, database: str, query: str) -> list[dict[str, Any]]:
        """The rows of a query in a service's database, as PostgreSQL's superuser sees them."""
        postgres = self.containers()["postgres"]["Id"]
        answer = run(
            *("docker", "exec", postgres, "psql", "-U", "postgres", "-d", database, "-AtX", "-v", "ON_ERROR_STOP=1"),
            *("-c", f"select json_agg(q) from ({query}) q"),
        ).strip()
        return json.loads(answer) if answer else []

    def python(self, service: str, script: str) -> Any:
        """What a Python script prints as JSON, run inside a service's container."""
        return json.loads(run("docker", "exec", "-i", self.containers()[service]["Id"], "python", "-", input=script))

    def _wait_until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + HEALTHY_WITHIN_SECONDS
        while not holds():
            if time.monotonic() > deadline:
                states = {
                    name: each["State"].get("Health", each["State"])["Status"]
                    for name, each in self.containers().items()
                }
                raise Unhealthy(f"{what} is not healthy within {HEALTHY_WITHIN_SECONDS:.0f} s: {states}")
            time.sleep(0.5)

    def _compose(self, *arguments: str) -> None:
        command = [*self.compose, "--env-file", str(self._secrets), *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Unhealthy(
                f"'{' '.join([*self.compose, *arguments])}' failed:\n" + "\n".join(done.stdout.splitlines()[-20:])
            )

    def _show_logs(self) -> None:
        """The whole of it into a file, the end of each container's here."""
        whole = CACHE / f"{self.project}.log"
        with whole.open("w") as log:
            for service, container in self.containers().items():
                said = subprocess.run(
                    ["docker", "logs", "--timestamps", container["Id"]],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    check=False,
                ).stdout
                log.write(f"==== {service}\n{said}\n")
                print(f"==== the end of {service}'s log\n" + "\n".join(said.splitlines()[-40:]), flush=True)
        print(f"==== all logs: {whole.relative_to(ROOT)}", flush=True)


def is_healthy(container: Container) -> bool:
    """Running and healthy; or, without a health check, ended well."""
    state = container["State"]
    if "Health" in state:
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")
    return bool(state["Status"] == "exited" and state["ExitCode"] == 0)
