"""An alarm names metrics that there are, and what to do about it."""

import re
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

from services.documents import ROOT
from services.documents.line import DocumentedLine
from tests.contracts.test_prose import anchors, read

RULES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_is_of_metrics_and_labels_that_there_are(alert: dict[str, Any], line: DocumentedLine) -> None:
    labels = {
        family.name + ("_total" if family.type == "counter" else ""): set(metric._labelnames)
        for metric in set(prometheus_client.REGISTRY._collector_to_names)
        if hasattr(metric, "_labelnames")
        for family in metric.collect()
    }
    named = re.findall(r"branchline_\w+", alert["expr"])
    assert named
    for metric in named:
        by = {label for labels in re.findall(r"by \(([^)]*)\)", alert["expr"]) for label in labels.split(", ")}
        assert by <= labels[metric], metric
    shown = set(re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]))
    assert shown <= by


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["annotations"]["runbook"].removeprefix("#") in anchors(read(Path("docs/operations.md")))
    assert alert["labels"]["severity"] in ("page", "ticket")
