"""Every operation of every service, and how somebody else's customer would show in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.auth.principal import Role

STAFF = frozenset({Role.MANAGER, Role.BRANCH_HEAD, Role.HEAD_OFFICE})
HEADS = frozenset({Role.BRANCH_HEAD, Role.HEAD_OFFICE})


@dataclass(frozen=True)
class Probe:
    """A request that names something of a customer, `{name}` in its path, query or body.

    Another's is answered like what does not exist; one's own is answered with one of `own`.
    """

    path: str
    method: str = "GET"
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    own: tuple[int, ...] = (200,)
    roles: frozenset[Role] = STAFF


@dataclass(frozen=True)
class Listing:
    """A list of what one may see: one's own and nobody else's, and nothing that counts them."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    filters: tuple[str, ...] = ()
    """Query parameters that name something; `{name}` of somebody else is like one that does not exist."""
    members: frozenset[str] = frozenset({"items", "next"})
    roles: frozenset[Role] = STAFF


@dataclass(frozen=True)
class Closed:
    """For a role that looks after no customer or after all, or a program with a scope; refused to all others."""

    roles: frozenset[Role]


@dataclass(frozen=True)
class Open:
    """Says nothing of a customer; to everybody who has a token where no roles are named."""

    reason: str
    roles: frozenset[Role] = frozenset(Role)


Operation = Probe | Listing | Closed | Open

FOR_OPERATORS = Closed(frozenset({Role.OPERATOR}))
FOR_AUDITORS = Closed(frozenset({Role.AUDITOR}))
FOR_HEAD_OFFICE = Closed(frozenset({Role.HEAD_OFFICE}))
FOR_PROGRAMS = Closed(frozenset({Role.SERVICE}))

OF_EVERY_SERVICE: dict[str, Operation] = {
    "read_me": Open("who the caller is"),
    "list_problems": Open("what refusals mean"),
    "read_problem": Open("what a refusal means"),
    **dict.fromkeys(
        (
            *("list_dead_letters", "summarize_dead_letters", "read_dead_letter", "edit_dead_letter"),
            *("replay_dead_letter", "replay_dead_letters", "edit_dead_letters"),
        ),
        FOR_OPERATORS,
    ),
    **dict.fromkeys(("list_audit", "export_audit"), FOR_AUDITORS),
}

OPERATIONS: dict[str, dict[str, Operation]] = {
    "customer": {
        **OF_EVERY_SERVICE,
        "list_customers": Listing("/customers", filters=("branch_id", "manager_id")),
        "read_customer": Probe("/customers/{customer_id}"),
        "look_up_customers": Probe("/customers/lookup", "POST", {"customer_ids": ["{customer_id}"]}),
        "search_customers": Probe("/customers/search", "POST", {"query": "{name}"}),
        "assign_customer": Probe(
            "/customers/{customer_id}/assignment",
            "PUT",
            {"manager_id": "{manager_id}"},
            headers={"If-Match": "*"},
            roles=HEADS,
        ),
        "list_accounts": Probe("/customers/{customer_id}/accounts"),
        "read_account": Probe("/accounts/{account_id}"),
        "list_branches": Open("the bank's, not a customer's", STAFF),
        "read_branch": Open("the bank's, not a customer's", STAFF),
        "list_managers": Open("the bank's, not a customer's", STAFF),
        "read_manager": Open("the bank's, not a customer's", STAFF),
        "list_reconciliation_findings": Listing("/reconciliation-findings"),
        "list_delegations": Listing("/delegations"),
        "read_delegation": Probe("/delegations/{delegation_id}"),
        "end_delegation": Probe("/delegations/{delegation_id}/end", "POST"),
        "delegate_portfolio": Probe(
            "/delegations",
            "POST",
            {
                "manager_id": "{own_manager_id}",
                "delegate_id": "{own_colleague_id}",
                "customer_ids": ["{customer_id}"],
                "ends_at": "2026-11-30T00:00:00Z",
            },
            own=(201,),
        ),
        **dict.fromkeys(("read_restriction", "restrict_customer", "lift_restriction"), FOR_HEAD_OFFICE),
        **dict.fromkeys(
            ("erase_customer", "read_erasure", "export_customer", "read_export", "download_export"), FOR_HEAD_OFFICE
        ),
        "receive_core_events": FOR_PROGRAMS,
        "read_core_event": FOR_PROGRAMS,
        **dict.fromkeys(
            (
                *("list_kept_events", "read_kept_event", "edit_kept_event", "replay_kept_event"),
                *("replay_kept_events", "edit_kept_events", "summarize_kept_events"),
            ),
            FOR_OPERATORS,
        ),
    },
    "interaction": {
        **OF_EVERY_SERVICE,
        "log_contact": Probe("/customers/{customer_id}/contacts", "POST", {"channel": "call"}, own=(201,)),
        "read_contact": Probe("/contacts/{contact_id}"),
        "list_customers_not_contacted": Listing("/customers/not-contacted", {"days": "0"}),
        "list_timeline": Probe("/customers/{customer_id}/timeline"),
        "list_complaints": Probe("/customers/{customer_id}/complaints"),
        "record_outcome": Probe(
            "/customers/{customer_id}/outcomes",
            "POST",
            {"alert_id": "{alert_id}", "outcome": "saved"},
            own=(201, 409),  # once for each alert, whichever of the two asks first
        ),
        "read_outcome": Probe("/outcomes/{outcome_id}"),
    },
    "scoring": {
        **OF_EVERY_SERVICE,
        "list_scores": Listing("/customers", filters=("branch_id", "manager_id")),
        "read_score": Probe("/customers/{customer_id}/score"),
        "list_score_changes": Probe("/customers/{customer_id}/scores"),
        "list_daily_aggregates": Probe("/customers/{customer_id}/daily-aggregates"),
        "list_alerts": Listing("/alerts", filters=("customer_id",)),
        "read_alert": Probe("/alerts/{alert_id}"),
    },
    "notification": {
        **OF_EVERY_SERVICE,
        "list_inbox": Listing("/inbox"),
        "count_inbox": Listing("/inbox/count", members=frozenset({"open", "snoozed", "acknowledged"})),
        "stream_inbox": Open("a stream: tests/notification/test_stream.py has its tests", STAFF),
        "read_inbox_item": Probe("/inbox/{item_id}"),
        "acknowledge_item": Probe("/inbox/{item_id}/acknowledge", "POST"),
        "snooze_item": Probe("/inbox/{item_id}/snooze", "POST", {"until": "2026-11-25T00:00:00Z"}),
        "list_deliveries": Probe("/alerts/{alert_id}/deliveries"),
        **dict.fromkeys(
            ("read_webhook", "set_webhook", "remove_webhook"),
            Open("where one's own alerts are sent: tests/notification/webhooks has its tests", STAFF),
        ),
    },
}
