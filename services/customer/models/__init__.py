"""Tables of the customer service. Personal data lives in `customer`, sealed, and nowhere else in Branchline."""

from services.customer.models.accounts import Account, AccountParty, BusinessDay, Posting, ReconciliationFinding
from services.customer.models.backfills import Backfill, BackfillFault
from services.customer.models.base import Base
from services.customer.models.core_events import HeldRelease, KeptEvent, KeptEventEdit, ReceivedEvent, ReportedFact
from services.customer.models.customers import Branch, Customer, CustomerToken, Manager
from services.customer.models.erasures import ErasedIdentity, Erasure, ErasurePart
from services.customer.models.exports import CustomerExport, CustomerExportPart

__all__ = [
    "Account",
    "AccountParty",
    "Backfill",
    "BackfillFault",
    "Base",
    "Branch",
    "BusinessDay",
    "Customer",
    "CustomerExport",
    "CustomerExportPart",
    "CustomerToken",
    "ErasedIdentity",
    "Erasure",
    "ErasurePart",
    "HeldRelease",
    "KeptEvent",
    "KeptEventEdit",
    "Manager",
    "Posting",
    "ReceivedEvent",
    "ReconciliationFinding",
    "ReportedFact",
]
