"""What the event core tells Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

RELAYED = Counter("branchline_outbox_relayed_total", "Events sent from the outbox.", ["service"])
CONSUMED = Counter("branchline_events_consumed_total", "Events delivered.", ["service", "topic"])
DUPLICATES = Counter(
    "branchline_events_duplicate_total", "Events that had been delivered before.", ["service", "topic"]
)
PARKED = Counter("branchline_events_parked_total", "Events parked as dead letters.", ["service", "topic", "code"])
REDELIVERED = Counter("branchline_deliveries_retried_total", "Deliveries that were tried again.", ["service", "topic"])
FENCED = Counter("branchline_deliveries_fenced_total", "Deliveries refused: the partition had moved.", ["service"])
BATCH_SIZE = Histogram(
    "branchline_delivery_events", "Events of a delivery.", ["service"], buckets=(1, 10, 100, 1_000, 5_000, 20_000)
)
DELIVERY_SECONDS = Histogram("branchline_delivery_seconds", "Seconds of a delivery's transaction.", ["service"])
LAG = Gauge(
    "branchline_consumer_lag_events", "Events behind the end of the partition.", ["service", "topic", "partition"]
)
OUTBOX_EVENTS = Gauge("branchline_outbox_events", "Events that wait in the outbox.", ["service"])
OUTBOX_OLDEST_SECONDS = Gauge(
    "branchline_outbox_oldest_seconds", "Age of the oldest event that waits in the outbox.", ["service"]
)
DEAD_LETTERS = Gauge("branchline_dead_letters", "Dead letters that wait for an operator.", ["service", "code"])
BACKGROUND_FAILURES = Counter(
    "branchline_background_failures_total", "Consumers, relays and jobs that have ended for good.", ["service", "task"]
)
