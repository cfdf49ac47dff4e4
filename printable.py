"""Text that cannot control the terminal on which it is printed."""

from __future__ import annotations

import re

# Control characters of all kinds but line feed and tab, marks that turn the direction of writing, line separators, and
# halves of a surrogate pair, which cannot be printed at all.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def plain(text: str) -> str:
    r"""Return `text` with what a terminal would obey, and what would disguise it, written as ``\u001b``.

    Names, classes and errors can come from a stranger's store. The form is JSON's, so that JSON stays what it was.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """Return `text` as `plain` does, on one line: a name must not look like another row."""
    return plain(text).replace("\n", "\\n").replace("\t", "\\t")
