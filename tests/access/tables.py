"""Every table of every service: under row-level security with what requests may do to it, or without and why."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Secured:
    """Under forced policies; `also` are policies beside the owner's and the requests' own."""

    granted: frozenset[str]
    also: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Unsecured:
    reason: str
    granted: frozenset[str] = field(default_factory=frozenset)


READ = frozenset({"select"})

OF_EVERY_SERVICE: dict[str, Secured | Unsecured] = {
    "customer_scope": Secured(READ),
    "delegation": Secured(READ),
    "data_key": Secured(frozenset({"select", "insert"})),
    "service_key": Unsecured(
        "of the blind index and of what names nobody, wrapped; nobody's record", frozenset({"select", "insert"})
    ),
    "outbox": Unsecured("written by requests, never read", frozenset({"insert"})),
    "idempotency_key": Unsecured(
        "found only by a hash of the caller and their key", frozenset({"select", "insert", "update", "delete"})
    ),
    "consumer_offset": Unsecured("of deliveries"),
    "delivered_event": Unsecured("of deliveries"),
    "dead_letter": Unsecured("of deliveries; operators read it as the owner"),
    "dead_letter_edit": Unsecured("of deliveries; operators write it as the owner"),
    "audit_record": Unsecured(
        "written by requests, never read; auditors are answered as the owner", frozenset({"insert"})
    ),
    "audit_record_month": Unsecured("a partition is reached through its table"),
    "audit_chain": Unsecured("written by requests, never read", frozenset({"insert"})),
    "alembic_version": Unsecured("of migrations"),
    "purge": Unsecured("of deliveries and jobs"),
}

TABLES: dict[str, dict[str, Secured | Unsecured]] = {
    "customer": {
        **OF_EVERY_SERVICE,
        "customer": Secured(frozenset({"select", "update"})),
        "customer_token": Secured(READ),
        "account": Secured(READ),
        "account_party": Secured(READ),
        "reconciliation_finding": Secured(READ),
        "customer_scope": Secured(frozenset({"select", "insert", "update"})),
        "delegation": Secured(
            frozenset({"select", "insert", "update"}),
            frozenset({"delegation_of_branch", "delegation_made", "delegation_ended"}),
        ),
        "customer_export": Secured(frozenset({"select", "insert"})),
        "customer_export_part": Secured(READ),
        "erasure": Secured(frozenset({"select", "insert"})),
        "erasure_part": Secured(READ),
        "erased_identity": Unsecured("of the core's boundary"),
        "branch": Unsecured("the bank's, not a customer's", READ),
        "manager": Unsecured("the bank's, not a customer's", READ),
        "posting": Unsecured("the ledger is read as the owner; COPY refuses tables with policies"),
        "received_event": Unsecured("of the core's boundary, for programs of the bank"),
        "kept_event": Unsecured("of the core's boundary, for programs of the bank"),
        "reported_fact": Unsecured("only says what was told before"),
        "business_day": Unsecured("of the core's boundary, for programs of the bank"),
        "kept_event_edit": Unsecured("of the core's boundary; operators write it as the owner"),
        "held_release": Unsecured("of the core's boundary; what is held is released as the owner"),
        "backfill": Unsecured("what the bank's files held, for whoever loads them"),
        "backfill_fault": Unsecured("what the bank's files held, for whoever loads them"),
    },
    "interaction": {
        **OF_EVERY_SERVICE,
        "account": Secured(frozenset()),
        "survey": Secured(frozenset()),
        "alert": Secured(READ),
        "complaint": Secured(READ),
        "contact": Secured(frozenset({"select", "insert"})),
        "coverage": Secured(frozenset({"select", "insert", "update"})),
        "retention_outcome": Secured(frozenset({"select", "insert"})),
        "timeline_entry": Secured(frozenset({"select", "insert"})),
    },
    "scoring": {
        **OF_EVERY_SERVICE,
        "account": Secured(READ),
        "churn_alert": Secured(READ),
        "customer_score": Secured(READ),
        "daily_aggregate": Secured(READ),
        "score_change": Secured(READ),
        "customer_fact": Unsecured("what scores are made of, never read by requests"),
        "retention_outcome": Unsecured("what alerts are closed by, never read by requests"),
        "business_day": Unsecured("which days the bank has closed", READ),
        "day_mark": Unsecured("which days each topic has closed"),
    },
    "notification": {
        **OF_EVERY_SERVICE,
        "alert": Secured(READ),
        "delivery": Secured(READ),
        "inbox": Secured(frozenset({"select", "insert", "update"})),
        "inbox_item": Secured(frozenset({"select", "update"})),
        "webhook": Secured(frozenset({"select", "insert", "update"})),
        "recipient": Unsecured("the staff's addresses, never read by requests"),
    },
}

COLUMNS_UPDATED: dict[tuple[str, str], set[str]] = {
    ("customer", "customer"): {"manager_id", "deputy_manager_id", "is_assigned_here", "version", "updated_at"}
    | {"restricted_at", "restriction_reason"},
    ("customer", "delegation"): {"ends_at", "revision"},
    ("interaction", "coverage"): {"last_contacted_at"},
    ("notification", "inbox_item"): {"state", "sequence", "acknowledged_at", "snoozed_until"},
}
"""Where requests may update some columns of a table only."""
