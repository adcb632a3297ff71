"""What becomes of each table of this service when a customer is erased, and what of it they get in an export."""

from shared.erasure.rules import OF_EVERY_SERVICE, Deleted, Kept, Rules

RULES: Rules = {
    "retention_outcome": Deleted(about="how an effort to keep you as a customer ended"),
    "churn_alert": Deleted(about="a warning that you may leave the bank, and what it was made of"),
    "score_change": Deleted(about="a day on which the estimated risk that you leave changed, and why"),
    "customer_score": Deleted(about="the estimated risk that you leave the bank, and why"),
    "customer_fact": Deleted(about="something dated that the estimate is made of"),
    "daily_aggregate": Deleted(about="what an account of yours did on a day"),
    "account": Deleted(about="an account of yours, as far as the estimate is made of it"),
    **OF_EVERY_SERVICE,
    "business_day": Kept("the bank's"),
    "day_mark": Kept("the bank's"),
}
