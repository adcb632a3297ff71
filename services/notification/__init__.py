"""Who is told about what, where it lies, and by which channel it went."""
