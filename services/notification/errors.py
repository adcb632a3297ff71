"""What the notification service refuses."""

from shared.web.refusals import InvalidInput, Problem


class InboxItemNotFound(Problem):
    status, code, title = 404, "inbox_item_not_found", "No such item in your inbox"
    remedy = "List your inbox; an item leaves it when somebody else comes to look after the customer."


class InboxItemClosed(Problem):
    status, code, title = 409, "inbox_item_closed", "The alert of this item is closed"
    remedy = "Nothing is left to do; read the item for when it was closed and why."


class AlertNotFound(Problem):
    status, code, title = 404, "alert_not_found", "No such alert, or not of a customer that you look after"
    remedy = "List your inbox, or the alerts of the scoring service."


class WebhookTargetRefused(InvalidInput):
    status, code, title = 422, "webhook_target_refused", "The address must not be called"
    remedy = "Give an https URL of a public address, on port 443 or 8443; `errors` has what is wrong with this one."


class WebhooksOff(Problem):
    status, code, title = 409, "webhooks_off", "This bank sends no webhooks"
    remedy = "Read your inbox, or ask those who run Branchline."
