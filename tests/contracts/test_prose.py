"""What is written by hand names only what exists: pages, headings, files, commands, settings, metrics."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import prometheus_client
import pytest
from typer.main import get_command

from services.cli import app
from services.documents import ROOT
from services.documents.line import DocumentedLine
from services.documents.settings import settings_classes
from tests.conftest import NewDatabase

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
CODE = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")
SUBCOMMANDS = re.compile(r"(?<![\w./-])(?:\.venv/bin/)?branchline ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")
TARGETS = re.compile(r"(?<![\w./-])make ([a-z.-]+)")
IN_TREE = re.compile(r"(?:bench|services|shared|feeds|tests|deploy|docs|requirements)/[\w./-]*|\.importlinter|\.ci/run")

# Not ours to declare: of the tests, of the command line, of make.
OTHER_VARIABLES = {"BRANCHLINE_TOKEN", "BRANCHLINE_DATA", "BRANCHLINE_REQUIRE_KAFKA", "BRANCHLINE_REQUIRE_DATA"}


def pages() -> list[Path]:
    return sorted(
        path.relative_to(ROOT)
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "bench").glob("*.md"))
    )


def hand_written() -> list[Path]:
    return [page for page in pages() if not page.is_relative_to("docs/reference")]


def read(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", page)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while (named := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(named)
    return found


def named_code(page: Path) -> Iterator[str]:
    """What stands in the typewriter's letters, in a line or in a block."""
    yield from FENCE.findall(read(page))
    yield from inline(page)


def inline(page: Path) -> list[str]:
    return [" ".join(part.split()) for part in CODE.findall(FENCE.sub("", read(page)))]


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_link_leads_to_a_page_and_a_heading_that_are_there(page: Path) -> None:
    dead = []
    for target in LINK.findall(FENCE.sub("", read(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        linked = (ROOT / page).parent / path if path else ROOT / page
        if not linked.exists() or (anchor and anchor not in anchors(linked.read_text(encoding="utf-8"))):
            dead.append(target)
    assert dead == []


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            linked = (page.parent / unquote(target).partition("#")[0]).resolve()
            if linked.suffix == ".md" and linked.exists():
                waiting.append(linked)
    assert {page.relative_to(ROOT) for page in reached} == set(pages())


@pytest.mark.parametrize("page", hand_written(), ids=str)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = set(filter(IN_TREE.fullmatch, inline(page)))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", hand_written(), ids=str)
def test_every_command_that_a_page_names_is_one(page: Path) -> None:
    group = get_command(app)
    commands: dict[str, object] = getattr(group, "commands", {})
    targets = set(re.findall(r"^([\w.-]+(?: [\w.-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    known = {name for target in targets for name in target.split()}
    wrong = []
    for part in named_code(page):
        for name, further in SUBCOMMANDS.findall(part):
            below: dict[str, object] = getattr(commands.get(name), "commands", {})
            if name not in commands or (below and further not in below):
                wrong.append(f"branchline {name} {further}")
        wrong += [f"make {target}" for target in TARGETS.findall(part) if target not in known]
    assert wrong == []


@pytest.mark.parametrize("page", hand_written(), ids=str)
def test_every_setting_that_a_page_names_is_one(page: Path, line: DocumentedLine) -> None:
    known = set(OTHER_VARIABLES)
    for _title, prefix, settings in settings_classes(line):
        known |= {f"{prefix}{name.upper()}" for name in settings.model_fields}
    for service in line.services:
        known |= {
            f"{service.upper()}_{name}" for name in ("DATABASE_URL", "REQUESTS_DATABASE_URL", "DATABASE_POOL_SIZE")
        }
    prefixes = "|".join(["BRANCHLINE", *(service.upper() for service in line.services)])
    named = set(re.findall(rf"(?<![\w<])(?:{prefixes})_[A-Z_]+(?![\w*])", read(page)))
    known |= {f"{name}_FILE" for name in known}  # what a setting's value may be read from: shared/secret_files.py
    assert named - known == set()


@pytest.mark.parametrize("page", hand_written(), ids=str)
def test_every_metric_that_a_page_names_is_counted(page: Path) -> None:
    counted = {
        sample
        for family in prometheus_client.REGISTRY.collect()
        for sample in (family.name, f"{family.name}_total" if family.type == "counter" else family.name)
    }
    named = set(re.findall(r"`(branchline_[a-z_]+)", read(page)))
    assert named - counted == set()


def test_every_code_of_an_event_that_is_held_or_parked_is_explained() -> None:
    folders = (ROOT / "services" / "customer", ROOT / "shared")
    source = "".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))
    codes = set(re.findall(r"(?:park|Undecodable|Unreadable|Parked)\(\s*(?:\w+, )?\"([a-z_]+)\"", source))
    codes |= {f"unknown_{kind}" for kind in re.findall(r"\.hold\(\"([a-z]+)\"", source)}
    assert {"conflicting_duplicate", "unknown_account", "not_heard", "malformed_headers"} <= codes
    assert codes - set(inline(Path("docs/operations.md"))) == set()


async def test_the_statements_of_the_operations_page_run(new_database: NewDatabase) -> None:
    """In the customer service's database, which has all the tables that they name."""
    blocks = re.findall(r"^ *```sql\n(.*?)```", read(Path("docs/operations.md")), re.MULTILINE | re.DOTALL)
    statements = [statement for block in blocks for statement in block.split(";") if statement.strip()]
    assert statements
    database = await new_database("customer")
    async with database.jobs.connect() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


def test_an_anchor_is_made_as_github_makes_it() -> None:
    page = "# A `b.c`: d\n## `customer.day_closed.v1`\n## Same\n## Same\n```\n# not one\n```\n"
    assert anchors(page) == {"a-bc-d", "customerday_closedv1", "same", "same-1"}
