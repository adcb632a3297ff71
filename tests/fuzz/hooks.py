"""What schemathesis loads: who asks, drawn for each request, and what it did, counted as it goes."""

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis import cli, engine

from shared.auth.principal import Role
from tests.access.operations import OPERATIONS

TOLD: dict[str, Any] = json.loads(os.environ["BRANCHLINE_FUZZ"])
SERVICE: str = TOLD["service"]
TOKENS: dict[str, list[str]] = TOLD["tokens"]
"""By role; a program's first is the one with a scope."""
USUALLY = (Role.MANAGER if SERVICE == "notification" else Role.HEAD_OFFICE, *Role)
"""Who asks where the operation admits them: only managers have an inbox, and head office sees all the rest."""


@schemathesis.auth(refresh_interval=None)
class Somebody:
    """A token that the issuer signed: of who sees most in two of three requests, of anybody's in the third."""

    def get(self, case: Any, _context: Any) -> str:
        # The same request is the same person's: hypothesis sends some again and gives up where they end otherwise.
        asked = (case.path, case.path_parameters, case.query, case.body)
        dice = random.Random(f"{TOLD['seed']} {case.method} {asked}")
        roles = OPERATIONS[SERVICE][case.operation.definition.raw["operationId"]].roles
        if dice.randrange(3):
            return TOKENS[next(role for role in USUALLY if role in roles)][0]
        return dice.choice(TOKENS[dice.choice(sorted(TOKENS))])

    def set(self, case: Any, token: str, _context: Any) -> None:
        case.headers["Authorization"] = f"Bearer {token}"


@cli.handler()
class Tally(cli.EventHandler[Any]):
    """Counts requests by phase, answers by status and the document's links that were followed."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.links: Counter[str] = Counter()

    def handle_event(self, _context: Any, event: Any) -> None:
        if not isinstance(event, engine.events.ScenarioFinished):
            return
        for interaction in event.recorder.interactions.values():
            self.requests[event.phase.value] += 1
            if interaction.response is not None:
                self.statuses[f"{interaction.response.status_code // 100}xx"] += 1
        for node in event.recorder.cases.values():
            followed = node.transition
            if followed is not None and node.is_transition_applied and not followed.is_inferred:
                self.links[followed.id] += 1

    def shutdown(self, _context: Any) -> None:
        told = {"requests": self.requests, "statuses": self.statuses, "links": self.links}
        Path(TOLD["tally"]).write_text(json.dumps(told))
