"""The figures of `make fuzz`: nothing that was found is left out of them."""

from collections.abc import Sequence
from typing import Any

from tests.fuzz.findings import FINDINGS, Findings, Report

NOTHING = {"server_errors": 0, "schema_violations": 0, "other_findings": {}, "untested": 0}


def report(*failures: tuple[str | None, str], errors: Sequence[str] = (), tested: int = 5) -> Report:
    verdict: dict[str, Any] = {
        "operations": {"selected": 5, "tested": tested},
        "failures": [{"code": code, "title": title, "count": 2} for code, title in failures],
        "errors": [{"title": title, "count": 1} for title in errors],
    }
    return Report(verdict, {"requests": {"fuzzing": 7}, "statuses": {"2xx": 7}, "links": {}})


def found(*reports: Report) -> dict[str, Any]:
    findings = Findings()
    for each in reports:
        findings.add("scoring", each)
    told = findings.told()
    assert told["by_phase"] == {"fuzzing": 7 * len(reports)}
    return {kind: told[kind] for kind in FINDINGS}


def test_failures_of_all_rounds_are_added_up_by_what_they_are() -> None:
    assert found(report(), report()) == NOTHING
    first = report(("ST101", "Server error"), ("ST105", "Undocumented status"), ("ST301", "Too slow"))
    second = report(("ST101", "Server error"), ("ST302", "Too slow"), errors=["Too slow", "No answer"])
    assert found(first, second) == {
        "server_errors": 4,
        "schema_violations": 2,
        "other_findings": {"Too slow": 5, "No answer": 1},
        "untested": 0,
    }


def test_an_operation_that_no_round_asked_anything_is_a_finding() -> None:
    assert found(report(tested=3), report(tested=4)) == {**NOTHING, "untested": 1}
    assert found(report(tested=3), report(tested=5)) == NOTHING
