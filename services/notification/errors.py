"""What the notification service refuses."""

from shared.web.problems import Problem


class InboxItemNotFound(Problem):
    status, code, title = 404, "inbox_item_not_found", "No such item in your inbox"
    remedy = "List your inbox; an item leaves it when somebody else comes to look after the customer."


class InboxItemClosed(Problem):
    status, code, title = 409, "inbox_item_closed", "The alert of this item is closed"
    remedy = "Nothing is left to do; read the item for when it was closed and why."


class AlertNotFound(Problem):
    status, code, title = 404, "alert_not_found", "No such alert, or not of a customer that you look after"
    remedy = "List your inbox, or the alerts of the scoring service."
