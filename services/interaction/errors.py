"""What the interaction service refuses."""

from shared.web.refusals import Problem


class CustomerNotFound(Problem):
    status, code, title = 404, "customer_not_found", "No such customer, or not one that you look after"
    remedy = "Search for the customer; ask your branch head when somebody else looks after them."


class ContactNotFound(Problem):
    status, code, title = 404, "contact_not_found", "No such contact, or not of a customer that you look after"
    remedy = "Read the timeline of the customer."


class AlertNotFound(Problem):
    status, code, title = 404, "alert_not_found", "No such alert of this customer"
    remedy = "Take the alert's id from the alert, or from the timeline of the customer."


class OutcomeNotFound(Problem):
    status, code, title = 404, "outcome_not_found", "No such outcome, or not of a customer that you look after"
    remedy = "Read the timeline of the customer."


class OutcomeAlreadyRecorded(Problem):
    status, code, title = 409, "outcome_already_recorded", "The alert has an outcome already"
    remedy = "Read the outcome; an alert has one, and the first one stays."
