"""How names and phone numbers are compared."""

import unicodedata

LONGEST_KEY = 200
SHORTEST_PHONE = 4


def search_key(name: str) -> str:
    """A name or a number as it is searched: compatibility forms and case folded, one space between words.

    Folding can make eighteen characters of one, and an index takes no more than it can hold.
    """
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())[:LONGEST_KEY]


def phone_key(phone: str) -> str | None:
    """A phone number without what people put between its digits; None for what is too short to be one."""
    digits = "".join(filter(str.isdigit, unicodedata.normalize("NFKC", phone)))
    return digits if len(digits) >= SHORTEST_PHONE else None


def end_of_prefix(prefix: str) -> str:
    """The least text that is greater than every text that begins with `prefix`, in code point order."""
    return prefix + "\U0010ffff"
