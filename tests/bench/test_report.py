"""The figures of the README are those of the last published run."""

import re

import msgspec

from bench.contenders import CONTENDERS
from bench.report import MUST, README, RESULTS, Results, with_blocks


def test_the_readme_shows_what_was_measured() -> None:
    readme = README.read_text(encoding="utf-8")
    assert with_blocks(readme) == readme, "make them again: python -m bench.report"


def test_every_contender_was_measured_and_is_explained() -> None:
    results = msgspec.json.decode(RESULTS.read_bytes(), type=Results)
    explained = re.findall(r"^\| `(\w+)` \| [a-zA-Z]", README.read_text(encoding="utf-8"), re.MULTILINE)
    names = [contender.name for contender in CONTENDERS]
    assert list(results.contenders) == names
    assert explained == names
    assert MUST.keys() <= results.ratios.keys()
