"""A container engine, the images, and compose: what is there, or the workplace's stand-ins for it."""

import os
import re
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = ROOT.parent / "shared" / "bin" / "local-images"
V2, V1 = ["docker", "compose"], ["docker-compose"]


class NoEngine(Exception):
    """Containers cannot be run here; the message says what is missing."""


def run(*command: str | Path, **options: object) -> str:
    """What the command printed. Raises CalledProcessError."""
    return subprocess.run(  # type: ignore[call-overload,no-any-return] # its options are many
        [str(part) for part in command],
        check=True,
        stdin=options.pop("stdin", subprocess.DEVNULL) if "input" not in options else None,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    ).stdout


def works(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0
    except FileNotFoundError:
        return False


def reach_engine() -> None:
    """Makes this process's environment reach an engine; the workplace's goes on running when it was needed."""
    if works("docker", "version"):
        return
    if not STAND_INS.exists():
        raise NoEngine("no container engine is reached: 'docker version' fails")
    print("== reaching the workplace's container engine", flush=True)
    exports = run(STAND_INS, "engine")
    for name, value in re.findall(r"(\w+)=(\S+)", exports):
        os.environ[name] = os.path.expandvars(value)


NOT_NEEDED = ("BRANCHLINE_IMAGE", "KEYCLOAK_IMAGE")
"""Built here; and of the profile `auth`, which these tests do not start."""


def bring_base_images() -> None:
    """Every image that docker-compose.yml names and does not build: there already, a stand-in, or pulled."""
    text = (ROOT / "docker-compose.yml").read_text()
    for variable, default in sorted(set(re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", text))):
        image = os.environ.get(variable) or default
        if variable in NOT_NEEDED or works("docker", "image", "inspect", image):
            continue
        print(f"== bringing the image {image}", flush=True)
        if STAND_INS.exists() and image == default:
            run(STAND_INS, "build", image.partition(":")[0].rpartition("/")[2])
        else:
            run("docker", "pull", "--quiet", image)


def flavours() -> list[list[str]]:
    """The compose commands there are, v2 first; COMPOSE names the only one to use."""
    if given := os.environ.get("COMPOSE"):
        return [shlex.split(given)]
    if not works(*V2, "version") and STAND_INS.exists():
        print("== building docker compose v2", flush=True)
        run(STAND_INS, "compose")
    found = [flavour for flavour in (V2, V1) if works(*flavour, "version")]
    if not found:
        raise NoEngine("there is neither 'docker compose' nor 'docker-compose'")
    return found
