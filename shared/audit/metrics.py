"""What the audit's writers count."""

from prometheus_client import Counter

ROWS = Counter("branchline_audit_rows_total", "Audit rows committed.", ["service"])
BATCHES = Counter("branchline_audit_batches_total", "Transactions that committed audit rows.", ["service"])
UNRECORDED = Counter(
    "branchline_audit_unrecorded_total",
    "Accesses refused because the audit could not be written.",
    ["service"],
)
