import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import telemetry
from tests.spans import span_from

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Any:
    telemetry.configure("tests")

    def read() -> list[dict[str, Any]]:
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return read


def test_every_logger_writes_one_json_line_with_its_trace(logged: Any) -> None:
    with span_from(TRACEPARENT, "deliver"):
        structlog.get_logger().info("event_parked", code="malformed_event")
        logging.getLogger("aiokafka").warning("topic %s is away", "customer.events")
    ours, theirs = logged()
    assert (ours["event"], ours["code"], ours["level"], ours["trace_id"]) == (
        "event_parked",
        "malformed_event",
        "info",
        TRACE_ID,
    )
    assert (theirs["event"], theirs["level"], theirs["trace_id"]) == (
        "topic customer.events is away",
        "warning",
        TRACE_ID,
    )


def test_what_kafkas_client_repeats_is_logged_once_in_a_while(logged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = logging.getLogger("aiokafka.conn")
    for attempt in range(5):
        client.error("cannot reach node %s", attempt)
    client.error("another thing")
    logging.getLogger("ours").error("every time")
    logging.getLogger("ours").error("every time")
    assert [line["event"] for line in logged()] == ["cannot reach node 0", "another thing", "every time", "every time"]
    monkeypatch.setattr(telemetry.OnceInAWhile, "SECONDS", 0.0)
    client.error("cannot reach node %s", 5)
    (line,) = logged()
    assert (line["event"], line["left_out"]) == ("cannot reach node 5", 4)


def test_what_a_personal_key_names_is_not_logged(logged: Any) -> None:
    structlog.get_logger().info(
        "saved",
        customer_id="c-1",
        phone="hush",
        nested={"Email": "hush", "home_address": ["hush"], "count": 3},
        rows=[{"full_name": "hush"}],
        route="/customers",
    )
    logging.getLogger("x").warning("saved", extra={"birth_date": "hush"})
    lines = logged()
    assert "hush" not in json.dumps(lines)
    assert lines[0]["nested"]["count"] == 3
    assert (lines[0]["customer_id"], lines[0]["route"]) == ("c-1", "/customers")


def test_an_exceptions_text_is_not_logged_but_where_it_came_from_is(logged: Any) -> None:
    def broken() -> None:
        try:
            raise KeyError("hush")
        except KeyError as cause:
            raise ValueError("hush too") from cause

    for log in (structlog.get_logger().exception, logging.getLogger("x").exception):
        try:
            broken()
        except ValueError:
            log("failed")
    for line in logged():
        assert "hush" not in json.dumps(line)
        assert [each["type"] for each in line["exception"]] == ["builtins.ValueError", "builtins.KeyError"]
        assert line["exception"][0]["at"][-1].endswith(" broken")


def test_a_fault_of_the_code_says_what_it_is(logged: Any) -> None:
    try:
        None.missing  # type: ignore[attr-defined] # noqa: B018 - the fault
    except AttributeError as fault:
        structlog.get_logger().error("failed", exc_info=fault)
    assert "'NoneType' object has no attribute 'missing'" in logged()[0]["exception"][0]["detail"]


def test_a_trace_is_carried_on() -> None:
    assert telemetry.current_traceparent() is None
    with span_from(TRACEPARENT, "deliver"):
        carried = telemetry.current_traceparent()
        assert carried is not None
        assert carried.startswith(f"00-{TRACE_ID}-")
        assert carried != TRACEPARENT, "the next hop's parent is this span"
        assert telemetry.current_trace_id() == TRACE_ID
    with span_from(None, "deliver"):
        assert telemetry.current_trace_id() not in (None, TRACE_ID)
    for malformed in ("", "hush", "00-0-0-00", f"00-{'0' * 32}-{'0' * 16}-01"):
        with span_from(malformed, "deliver"):
            assert telemetry.current_trace_id() is not None


def test_a_spans_query_is_hidden_and_its_service_named() -> None:
    provider = telemetry.tracer_provider("hidden-query")
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with span_from(TRACEPARENT, "caller"):
        provider.get_tracer("test").start_span("GET", attributes={"url.query": "name=hush", "url.path": "/x"}).end()
    (span,) = exporter.get_finished_spans()
    assert dict(span.attributes or {}) == {"url.query": "[redacted]", "url.path": "/x"}
    assert span.resource.attributes["service.name"] == "hidden-query"


@pytest.mark.parametrize(("endpoint", "sampled"), [("", "0"), ("http://127.0.0.1:9", "1")])
def test_traces_are_exported_only_where_an_endpoint_is_named(endpoint: str, sampled: str) -> None:
    program = (
        "from shared import telemetry; telemetry.configure('customer');"
        "from opentelemetry import trace; import contextlib;"
        "s = trace.get_tracer('x').start_as_current_span('x'); s.__enter__();"
        "print(int(trace.get_current_span().get_span_context().trace_flags.sampled));"
        "print(len(telemetry.tracer_provider('customer')._active_span_processor._span_processors));"
        "import os; os._exit(0)"
    )
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [sampled, "1" if sampled == "0" else "2"]
