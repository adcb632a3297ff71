"""`make compose-test`: the journeys through the gateway, then every container killed while events flow."""

import json
import os
import random
import subprocess
import sys
import time

import httpx

from tests.compose.bank import open_bank
from tests.compose.engine import ROOT, NoEngine, bring_base_images, flavours, reach_engine
from tests.compose.line import DATABASES, Line, Unhealthy
from tests.compose.quiet import wait_until_quiet
from tests.compose.staff import Staff
from tests.compose.stream import BATCH, Door, NoAnswer, Stream
from tests.compose.tally import tally

SECONDS_BETWEEN_BATCHES = 0.5


class JourneyFailed(Exception):
    """A journey through the gateway did not end as it should."""


def main() -> int:
    try:
        reach_engine()
        bring_base_images()
        found = flavours()
        travel(Line(found[-1]))
        result = kill_everything(Line(found[0]))
    except (NoEngine, Unhealthy, NoAnswer, JourneyFailed, httpx.HTTPError, subprocess.CalledProcessError) as fault:
        print(f"compose-test: {fault}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 1 if result["lost"] or result["doubled"] else 0


def travel(line: Line) -> None:
    """The journey tests, through the gateway."""
    say(f"starting the line with {' '.join(line.compose)}")
    with line.up():
        check_the_gate(line)
        say("journeys through the gateway")
        environment = {**os.environ, "BRANCHLINE_URL": line.url}
        command = [sys.executable, "-m", "pytest", "tests/journeys"]
        if subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode:
            raise JourneyFailed("the journeys through the gateway failed")


def check_the_gate(line: Line) -> None:
    """What may be seen from outside is, and what may not is not."""
    with httpx.Client(base_url=line.url, timeout=20, trust_env=False) as http:
        apis = [f"/api/{service}/v1" for service in DATABASES]
        seen = {path: http.get(path).status_code for api in apis for path in (f"{api}/docs", f"{api}/openapi.json")}
        hidden = ["/metrics", "/healthz", "/readyz", *(f"/api/{service}/metrics" for service in DATABASES)]
        wrong = {path: status for path, status in seen.items() if status != 200}
        wrong |= {path: status for path in hidden if (status := http.get(path).status_code) != 404}
        wrong |= {api: status for api in apis if (status := http.get(f"{api}/me").status_code) != 401}
    if wrong:
        raise Unhealthy(f"the gateway answers what it should not: {wrong}")


def kill_everything(line: Line) -> dict[str, int]:
    """Kills each container once while a bank's events flow, and then compares what was sent with what is there."""
    seed = int(os.environ.get("BRANCHLINE_SEED") or random.SystemRandom().randrange(1_000_000))
    say(f"starting the line with {' '.join(line.compose)}; BRANCHLINE_SEED={seed}")
    bank = open_bank(seed)
    with line.up():
        door = Door(line.url)
        stream = Stream(door, bank.lines, seconds_between=SECONDS_BETWEEN_BATCHES)
        staff = Staff(door, bank)
        stream.start()
        staff.start()
        services = sorted(line.containers().keys() - {"migrate"})
        random.Random(seed).shuffle(services)
        for service in services:
            wait_for_progress(stream)
            began, answered = time.monotonic(), stream.answered
            line.kill_and_wait(service)
            say(
                f"killed {service}; healthy again after {time.monotonic() - began:.0f} s, "
                f"in which {stream.answered - answered} events were taken"
            )
        stream.hurry.set()
        stream.join()
        stream.check()
        say(f"{stream.answered} events were taken: {dict(stream.outcomes)}; unanswered requests: {dict(door.refused)}")
        wait_until_quiet(line)
        staff.go_home.set()
        staff.join()
        if staff.fault is not None:
            raise staff.fault
        wait_until_quiet(line)
        say(f"managers settled {len(staff.settled)} alerts; comparing what was sent with what is there")
        result = tally(line, door, bank, staff.settled)
    return {"restarts": len(services), "events": len(bank.lines), "lost": result.lost, "doubled": result.doubled}


def wait_for_progress(stream: Stream) -> None:
    """Until two more batches were taken: what is killed next is killed at work. Raises Unhealthy when none are left."""
    answered = stream.answered
    while stream.answered < answered + 2 * BATCH:
        stream.check()
        if not stream.is_alive():
            raise Unhealthy("the stream ended before every container was killed: make the bank bigger")
        time.sleep(0.1)


def say(what: str) -> None:
    print(f"== {what}", flush=True)


sys.exit(main())
