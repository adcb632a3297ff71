"""What docker-compose.yml and the Dockerfile promise, read off the files; `make compose-test` runs them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kafka_broker import POM

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = sorted(name for name, service in SERVICES.items() if "BRANCHLINE_IMAGE" in service["image"])


def test_only_the_gateway_and_the_identity_provider_are_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "gateway": ["127.0.0.1:${BRANCHLINE_PORT:-8080}:8080"],
        "keycloak": ["127.0.0.1:${KEYCLOAK_PORT:-8081}:8080"],
    }
    assert SERVICES["keycloak"]["profiles"] == ["auth"]


def test_the_gateway_does_not_reach_postgresql_or_kafka() -> None:
    assert SERVICES["gateway"]["networks"] == ["web"]
    assert SERVICES["postgres"]["networks"] == SERVICES["kafka"]["networks"] == ["inside"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_write_nowhere_and_gain_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service
    assert "privileged" not in service


def test_our_image_runs_as_nobody_in_particular() -> None:
    users = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users[-1] == "10001:10001"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_has_a_memory_limit_and_comes_back(name: str) -> None:
    assert SERVICES[name]["mem_limit"]
    assert SERVICES[name]["restart"] == ("no" if name == "migrate" else "unless-stopped")


def test_each_service_knows_its_own_database_only() -> None:
    for service in ("customer", "interaction", "scoring", "notification"):
        named = {key for key in SERVICES[service]["environment"] if key.endswith("DATABASE_URL")}
        assert named == {f"{service.upper()}_DATABASE_URL", f"{service.upper()}_REQUESTS_DATABASE_URL"}


def test_no_secret_has_a_default_and_each_is_made_on_the_spot() -> None:
    without_default = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    with_default = set(re.findall(r"\$\{(\w+):-", COMPOSE))
    made = subprocess.run([ROOT / "deploy/compose/secrets"], capture_output=True, text=True, check=True).stdout
    assert {line.partition("=")[0] for line in made.splitlines()} == without_default
    assert all(len(line.partition("=")[2]) >= 20 for line in made.splitlines())
    assert not without_default & with_default
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == without_default | with_default


def test_secrets_are_not_the_same_twice() -> None:
    first, second = (
        subprocess.run([ROOT / "deploy/compose/secrets"], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert not set(first.splitlines()) & set(second.splitlines())


def test_the_tests_broker_is_of_the_version_that_the_containers_run() -> None:
    version = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([\d.]+)</version>", POM.read_text())
    assert version is not None
    assert f":-apache/kafka:{version[1]}}}" in SERVICES["kafka"]["image"]


def test_the_image_says_what_is_in_it() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    build, final = dockerfile.split("\nFROM ${PYTHON_IMAGE}\n")
    assert "--output-file /opt/branchline/sbom.cdx.json /opt/branchline/bin/python" in build
    assert build.index("--no-deps --no-build-isolation .") < build.index("cyclonedx-py"), "when all of it is there"
    assert "--require-hashes -r sbom.txt" in build
    assert "COPY --from=build /opt/branchline /opt/branchline" in final
    assert "/opt/sbom" not in final
