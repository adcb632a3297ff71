"""Each import contract, broken once to see it fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINT = Path(sys.executable).with_name("lint-imports")
PACKAGES = ("bench", "feeds", "services", "shared")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    shutil.copy(ROOT / ".importlinter", folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def is_kept(folder: Path, contract: str) -> bool:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [str(LINT), "--no-cache", "--contract", contract]
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert "Contracts:" in said.stdout, said.stdout + said.stderr
    return said.returncode == 0


@pytest.mark.parametrize(
    ("contract", "module", "forbidden"),
    [
        ("services-are-independent", "services/scoring/handlers.py", "services.customer.settings"),
        ("layers-of-a-service", "services/customer/use_cases/portfolio.py", "services.customer.routes.customers"),
        ("layers-of-a-service", "services/customer/routes/customers.py", "services.customer.handlers"),
        ("layers-of-a-service", "services/scoring/domain/scorecard.py", "services.scoring.models"),
        ("shared-knows-no-service", "shared/clock.py", "services.catalog"),
        ("domain-is-pure", "services/interaction/domain/timeline.py", "sqlalchemy"),
        ("domain-is-pure", "services/scoring/domain/alerts.py", "shared.database"),
        ("events-are-a-language", "shared/events/base.py", "pydantic"),
        ("feeds-are-clients", "feeds/berka.py", "services.customer.settings"),
        ("nobody-needs-the-bench", "shared/clock.py", "bench.input"),
    ],
)
def test_a_contract_that_is_broken_is_reported(copy: Path, contract: str, module: str, forbidden: str) -> None:
    broken = copy / module
    kept = broken.read_text()
    assert is_kept(copy, contract)
    try:
        broken.write_text(f"{kept}\nimport {forbidden}\n")
        assert not is_kept(copy, contract)
    finally:
        broken.write_text(kept)


def test_no_contract_is_broken() -> None:
    said = subprocess.run([str(LINT), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout
