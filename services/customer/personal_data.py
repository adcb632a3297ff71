"""What becomes of each table of this service when a customer is erased, and what of it they get in an export."""

from shared.erasure.rules import COPY, OF_CUSTOMER, OF_EVERY_SERVICE, Deleted, Kept, Rules

_THEIR_ACCOUNTS = "select account_id from account where customer_id = :customer_id"
_OF_THEIR_ACCOUNTS = f"account_id in ({_THEIR_ACCOUNTS})"
_NAMED = (
    "(customer_id = :customer_id or exists (select from ("
    "  select source, 'party:' || party_id as id from customer where customer_id = :customer_id"
    "  union all select source, 'account:' || core_account_id from account where customer_id = :customer_id) named"
    " where named.source = {table}.source and named.id = any ({table}.names)))"
)

RULES: Rules = {
    "kept_event_edit": Deleted(_NAMED.format(table="kept_event_edit"), not_shown=COPY),
    "kept_event": Deleted(_NAMED.format(table="kept_event"), not_shown="the bank's core has not told it rightly yet"),
    "customer_export_part": Deleted(
        "export_id in (select export_id from customer_export where customer_id = :customer_id)", not_shown=COPY
    ),
    "customer_export": Deleted(not_shown=COPY),
    "customer_token": Deleted(not_shown="keyed hashes of what is exported with the customer"),
    "reported_fact": Deleted(about="what other systems of the bank reported about you, by their ids"),
    "reconciliation_finding": Deleted(_OF_THEIR_ACCOUNTS, about="a day on which your account's sum was not as stated"),
    # Of an account that another customer holds now the ledger is theirs; the id in it leads to nobody any more.
    "posting": Deleted(_OF_THEIR_ACCOUNTS, about="a transaction of your account"),
    "account_party": Deleted(f"({OF_CUSTOMER} or {_OF_THEIR_ACCOUNTS})", about="who has a relation to your account"),
    "account": Deleted(about="an account that you hold"),
    "customer": Deleted(about="who you are to the bank", opened={"sealed": "customer.sealed"}),
    **OF_EVERY_SERVICE,
    "erasure": Kept("the certificate: what was deleted and when, without any value"),
    "erasure_part": Kept("the certificate: what was deleted and when, without any value"),
    "erased_identity": Kept("keyed hashes of the core's ids, by which what it still tells is known and not kept"),
    "received_event": Kept("ids of the core's events, what became of them, and keyed hashes: none names a customer"),
    "held_release": Kept("what was waited for, gone when it is released"),
    "branch": Kept("the bank's"),
    "manager": Kept("the staff's"),
    "business_day": Kept("the bank's"),
    "backfill": Kept("names of the bank's files"),
    "backfill_fault": Kept("where rows of the bank's files are wrong; it holds nothing of the rows"),
}
