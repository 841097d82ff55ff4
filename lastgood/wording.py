"""How commands say sizes and names, and where they point for a reason. Decides nothing."""

#: Where the pages lie, as messages name them.
REASONS_PAGE = "docs/reasons.md"


def size_in_words(size_bytes: float) -> str:
    """Such as "546 B", "1.3 MB"."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return "{:.0f} {}".format(size, unit) if unit == "B" else "{:.1f} {}".format(size, unit)
        size /= 1000
    return "{:.1f} TB".format(size)


def reason_link(reason: str) -> str:
    """The place that says what a reason means, where it comes from, and what to do."""
    return "{}#{}".format(REASONS_PAGE, reason.lower())


def printable(text: str) -> str:
    """The text with what could steer a terminal escaped."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
