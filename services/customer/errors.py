"""What the customer service refuses."""

from shared.web.refusals import Problem


class CustomerNotFound(Problem):
    status, code, title = 404, "customer_not_found", "No such customer, or not one that you look after"
    remedy = "Search for the customer; ask your branch head when somebody else looks after them."


class AccountNotFound(Problem):
    status, code, title = 404, "account_not_found", "No such account, or not of a customer that you look after"
    remedy = "Read the accounts of the customer."


class BranchNotFound(Problem):
    status, code, title = 404, "branch_not_found", "No such branch"
    remedy = "List the branches."


class ManagerNotFound(Problem):
    status, code, title = 404, "manager_not_found", "No such manager"
    remedy = "List the managers."


class UnknownManager(Problem):
    status, code, title = 422, "unknown_manager", "The customer cannot be given to this manager"
    remedy = "Choose an active manager from the list of managers; as a branch head, one of your branch."


class KeptEventNotFound(Problem):
    status, code, title = 404, "kept_event_not_found", "No such event is held or parked, or it has been applied"
    remedy = "List the kept events; ask for the event by source and id to see what became of it."


class KeptEventGone(Problem):
    status, code, title = 410, "kept_event_gone", "What this event held is gone: its customer was erased"
    remedy = "Nothing is left to mend or to receive."


class NotACloudEvent(Problem):
    status, code, title = 422, "not_a_cloud_event", "Mended so, it could not be received at all"
    remedy = "Leave the event its specversion, id, source, type and data."


class UnknownDelegate(Problem):
    status, code, title = 422, "unknown_delegate", "The customers cannot be delegated to this person"
    remedy = "Choose an active colleague of the manager's branch; as a branch head, of your branch or one below it."


class DelegationNotFound(Problem):
    status, code, title = 404, "delegation_not_found", "No such delegation, or not one of yours to see or to end"
    remedy = "List the delegations; ask your branch head when you want to end one that you were given."


class CoreEventNotFound(Problem):
    status, code, title = 404, "core_event_not_found", "No such event was received"
    remedy = "Compare source and id with what was sent; send it again if it is missing."


class ExportNotFound(Problem):
    status, code, title = 404, "export_not_found", "No such export of a customer that you look after"
    remedy = "Ask for an export of the customer, and read it by the id in the answer."


class ExportNotReady(Problem):
    status, code, title = 409, "export_not_ready", "Not every service has told what it has about the customer"
    remedy = "Read the export until its state is ready, then download it."


class ExportExpired(Problem):
    status, code, title = 410, "export_expired", "The archive is not kept any longer"
    remedy = "Ask for another export of the customer."


class ErasureNotFound(Problem):
    status, code, title = 404, "erasure_not_found", "No erasure of such a customer was asked for"
    remedy = "Compare the customer's id with that of the request that asked for the erasure."


class TooManyEvents(Problem):
    status, code, title = 413, "too_many_events", "Too many events in one request"
    remedy = "Send them in several requests; sending some twice does no harm."
