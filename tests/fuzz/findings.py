"""What schemathesis found in all rounds, added up."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SERVER_ERRORS = ("ST101", "ST102")
SCHEMA_VIOLATIONS = tuple(f"ST{number}" for number in range(103, 112))
"""By schemathesis' codes, what an answer says that its document does not; whatever else it finds is told too."""
FINDINGS = ("server_errors", "schema_violations", "other_findings", "untested")
"""Of what is told: nothing of it may be."""


class Report(NamedTuple):
    """Of one run over one service: schemathesis' own, and what `tests.fuzz.hooks` counted."""

    verdict: dict[str, Any]
    tally: dict[str, Any]


@dataclass
class Findings:
    operations: Counter[str] = field(default_factory=Counter)
    """How many a service's document has."""
    tested: Counter[str] = field(default_factory=Counter)
    """How many of them were asked something in the round that asked most."""
    phases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    links: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    failures: Counter[tuple[str | None, str]] = field(default_factory=Counter)
    """By code, where schemathesis has one, and title."""

    def add(self, service: str, report: Report) -> None:
        operations = report.verdict["operations"]
        self.operations[service] = operations["selected"]
        self.tested[service] = max(self.tested[service], operations["tested"])
        self.phases += Counter(report.tally["requests"])
        self.statuses += Counter(report.tally["statuses"])
        self.links[service] += Counter(report.tally["links"])
        for failure in (*report.verdict["failures"], *report.verdict["errors"]):
            self.failures[(failure.get("code"), failure["title"])] += failure["count"]

    def told(self) -> dict[str, Any]:
        others: Counter[str] = Counter()
        for (code, title), count in self.failures.items():
            if code not in (*SERVER_ERRORS, *SCHEMA_VIOLATIONS):
                others[title] += count
        return {
            "operations": dict(self.tested),
            "untested": (self.operations - self.tested).total(),
            "by_phase": dict(self.phases),
            "answers": dict(sorted(self.statuses.items())),
            "links": {service: len(followed) for service, followed in self.links.items()},
            "links_followed": sum(followed.total() for followed in self.links.values()),
            "server_errors": self._of(SERVER_ERRORS),
            "schema_violations": self._of(SCHEMA_VIOLATIONS),
            "other_findings": dict(others),
        }

    def _of(self, codes: Sequence[str]) -> int:
        return sum(count for (code, _title), count in self.failures.items() if code in codes)
