"""Text that strangers wrote, as short harmless text for a terminal: in messages, tables and plots."""

from __future__ import annotations

_UNSAFE = {0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A), 0xFEFF, 0xFFFE, 0xFFFF}
_UNSAFE |= set(range(0xD800, 0xE000))
"""Characters that end a line or turn the direction of the text, some that XML does not allow, and halves of characters
(they stand for bytes of a file name that are no text, and cannot be printed)."""


def visible(text: str, *, longest: int | None = None) -> str:
    r"""Return a name as one line of harmless text.

    Args:
        text: Any text.
        longest: Most characters; what is cut is shown as an ellipsis.

    Example:
        >>> visible("a\x1b[31mb\nc")
        'a\\x1b[31mb\\x0ac'
        >>> visible("a long name", longest=6)
        'a lon…'
    """
    if not text.isprintable():
        text = "".join(
            f"\\x{ord(c):02x}" if ord(c) < 32 or 127 <= ord(c) < 160 else f"\\u{ord(c):04x}" if ord(c) in _UNSAFE else c
            for c in text
        )
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def quoted(value: object, longest: int = 60) -> str:
    r"""Return the first line of a value, or of an error's text, as short harmless text for a message.

    Example:
        >>> quoted("a\x1b]0;title\x07")
        'a\\x1b]0;title\\x07'
        >>> quoted(ValueError("first line\nsecond line"))
        'first line'
    """
    if isinstance(value, BaseException):
        lines = str(value).strip().splitlines()
        return visible(lines[0] if lines else type(value).__name__, longest=max(longest, 160))
    return visible(str(value), longest=longest)
