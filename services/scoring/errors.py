"""What the scoring service refuses."""

from shared.web.refusals import Problem


class CustomerNotScored(Problem):
    status, code, title = 404, "customer_not_scored", "No such customer, or not one that you look after"
    remedy = "Ask the customer service for your customers; one without any event yet has no score."


class AlertNotFound(Problem):
    status, code, title = 404, "alert_not_found", "No such alert, or not of a customer that you look after"
    remedy = "List the alerts of your customers."
