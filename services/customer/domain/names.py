"""How names are compared."""

import unicodedata


def search_key(name: str) -> str:
    """A name as it is searched: compatibility forms and case folded, one space between words."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def end_of_prefix(prefix: str) -> str:
    """The least text that is greater than every text that begins with `prefix`, in code point order."""
    return prefix + "\U0010ffff"
