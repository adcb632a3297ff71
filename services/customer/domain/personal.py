"""Who a customer is as a person: what is sealed, and what of it can be searched."""

from dataclasses import dataclass
from datetime import date

from services.customer.domain.names import phone_key, search_key


@dataclass(frozen=True, repr=False)
class PersonalDetails:
    name: str | None = None
    birth_on: date | None = None
    phone: str | None = None
    email: str | None = None
    address: str | None = None
    document_number: str | None = None

    def __repr__(self) -> str:
        return "PersonalDetails(…)"

    @property
    def name_key(self) -> str:
        """'' for who has no name."""
        return search_key(self.name) if self.name else ""

    @property
    def phone_key(self) -> str | None:
        return phone_key(self.phone) if self.phone else None

    @property
    def document_key(self) -> str | None:
        return document_key(self.document_number) if self.document_number else None

    def is_called(self, query: str) -> bool:
        """Whether the name has each word of the query, a `search_key`; one Latin letter must begin a word of it."""
        words = self.name_key.split()
        return all(
            any(word.startswith(part) if len(part) == 1 and part.isascii() else part in word for word in words)
            for part in query.split()
        )


def document_key(number: str) -> str | None:
    """An identity document's number without what people put between its letters and digits."""
    return "".join(filter(str.isalnum, search_key(number))) or None
