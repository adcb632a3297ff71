"""What was expected against what is there: how much is lost, how much is doubled, what else is wrong."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN = 5


@dataclass
class Verdict:
    """`lost` and `doubled` count effects; `violations` are the rules that were broken, in words."""

    lost: int = 0
    doubled: int = 0
    compared: int = 0
    violations: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.violations)

    def once(self, what: str, expected: Iterable[Hashable], found: Iterable[Hashable]) -> None:
        """Each of the expected is there once, and nothing else."""
        self.counts(what, Counter(iter(expected)), Counter(iter(found)))

    def counts(self, what: str, expected: Mapping[Any, int], found: Mapping[Any, int]) -> None:
        """Less than expected is lost, more is doubled, each by its amount."""
        self.compared += sum(expected.values())
        for key in expected.keys() | found.keys():
            difference = found.get(key, 0) - expected.get(key, 0)
            if difference < 0:
                self.lost -= difference
                self.findings.append(f"LOST {what}: {key} by {-difference}")
            elif difference > 0:
                self.doubled += difference
                self.findings.append(f"DOUBLED {what}: {key} by {difference}")

    def same(self, what: str, expected: Mapping[Any, object], found: Mapping[Any, object]) -> None:
        """What is there under a key is what is expected of it."""
        self.compared += len(expected)
        for key in expected.keys() & found.keys():
            if expected[key] != found[key]:
                self.violate(f"{what}: {key} is {found[key]}, not {expected[key]}")

    def violate(self, rule: str) -> None:
        self.violations.append(rule)

    def lines(self) -> list[str]:
        """Every violation, and of each kind of finding the first few."""
        shown: Counter[str] = Counter()
        lines = []
        for finding in [*(f"WRONG {violation}" for violation in self.violations), *self.findings]:
            kind = finding.partition(":")[0]
            shown[kind] += 1
            if shown[kind] <= SHOWN:
                lines.append(finding)
        lines += [f"{kind}: {count - SHOWN} more" for kind, count in shown.items() if count > SHOWN]
        return lines
