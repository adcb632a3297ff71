"""What becomes of each table of this service when a customer is erased, and what of it they get in an export."""

from shared.erasure.rules import OF_EVERY_SERVICE, Deleted, Rules

RULES: Rules = {
    "retention_outcome": Deleted(about="how an effort to keep you as a customer ended"),
    "alert": Deleted(about="a warning that you may leave the bank"),
    "timeline_entry": Deleted(about="what happened around you"),
    "coverage": Deleted(about="when the bank was last in contact with you"),
    "contact": Deleted(about="a conversation with you"),
    "complaint": Deleted(about="a complaint of yours"),
    "survey": Deleted(about="an answer of yours to a survey"),
    "account": Deleted(about="an account of yours, as far as the timeline tells of it"),
    **OF_EVERY_SERVICE,
}
