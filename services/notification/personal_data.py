"""What becomes of each table of this service when a customer is erased, and what of it they get in an export."""

from shared.erasure.rules import OF_EVERY_SERVICE, Deleted, Kept, Rules

RULES: Rules = {
    "delivery": Deleted(about="a message to a member of staff about a warning that you may leave"),
    "inbox_item": Deleted(about="such a warning in the inbox of a member of staff"),
    "alert": Deleted(about="a warning that you may leave the bank"),
    **OF_EVERY_SERVICE,
    "recipient": Kept("the staff's"),
    "webhook": Kept("the staff's: where they have alerts sent, sealed"),
    "inbox": Kept("the staff's: how many changes an inbox has had"),
}
