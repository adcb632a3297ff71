"""Text that a database can hold."""


def is_keepable(text: str) -> bool:
    """Without NUL, which PostgreSQL has not, and lone surrogates, which UTF-8 has not."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
