"""The problem reference: every code that an answer may carry."""

from collections.abc import Iterator
from pathlib import Path

from services.documents.line import GENERATED, DocumentedLine
from services.documents.words import code
from shared.web.problems import problem_types
from shared.web.refusals import Problem

HEAD = f"""# Problems

{GENERATED}

Every refusal is `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail`, `code` and `trace_id`,
and for values that are not as they must be `errors[]`, each with a JSON pointer. Decide by `code`: it is stable. `type`
is an address under which the service itself tells what is below: `/api/<service>/v1/problems/<code>`.
"""


def documents(line: DocumentedLine) -> Iterator[tuple[Path, str]]:
    yield Path("problems.md"), "\n".join(_page(line))


def all_problems(line: DocumentedLine) -> dict[str, list[tuple[type[Problem], list[str]]]]:
    """By code, each class that has it with the services that answer it; none named means all."""
    found: dict[str, list[tuple[type[Problem], list[str]]]] = {}
    for service in line.services:
        for name, problem in problem_types(f"services.{service}").items():
            if problem.__module__.startswith("shared."):
                found.setdefault(name, [(problem, [])])
            else:
                found.setdefault(name, []).append((problem, [service]))
    return dict(sorted(found.items()))


def _page(line: DocumentedLine) -> Iterator[str]:
    yield HEAD
    for name, classes in all_problems(line).items():
        yield from (f"## {name}", "")
        by_text: dict[str, list[str]] = {}
        for problem, services in classes:
            by_text.setdefault(f"{code(problem.status)} {problem.title}. {problem.remedy}", []).extend(services)
        for text, services in by_text.items():
            yield from (f"{text} ({', '.join(services) or 'every service'})", "")
