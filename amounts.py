"""Amounts of memory, of disk and of things, and times, as people write them."""

from __future__ import annotations

import datetime
import re

from .errors import BadInput

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(text: str, name: str = "memory", *, least: int = 1) -> int:
    """Read an amount: ``2GiB``, ``512M``, ``1.5 g`` or plain bytes; units are powers of 1,024.

    Parameters
    ----------
    text : str
    name : str
        What it is an amount for: the option, or whatever else holds `text`.
    least : int
        The least amount that can be meant.

    Raises
    ------
    BadInput
        If `text` has another form, or is less.
    """
    found = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([kmgt]?)(?:i?b)?\s*", text.lower())
    amount = int(float(found[1]) * _UNITS[found[2]]) if found is not None else -1
    if amount < least:
        raise BadInput(
            f"{text!r} is not an amount for {name}.", hint="Write for example 2GiB or 512MiB.", key=name, found=text
        )
    return amount


def count(n: int, what: str, many: str = "") -> str:
    """Return ``1 set``, ``2 sets``, ``1,000 sets``.

    Parameters
    ----------
    n : int
    what : str
        One of them.
    many : str
        Several, where it does not just end in s.
    """
    return f"{n:,} {what if n == 1 else many or f'{what}s'}"


def be(n: int) -> str:
    """Return ``is`` of one thing, else ``are``.

    Examples
    --------
    >>> f"{count(1, 'set')} {be(1)} pinned", f"{count(2, 'set')} {be(2)} pinned"
    ('1 set is pinned', '2 sets are pinned')
    """
    return "is" if n == 1 else "are"


def when(milliseconds: int | None) -> str:
    """Return a time stamp as people read it, in their own time zone."""
    if not milliseconds:
        return "-"
    try:
        return datetime.datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):  # a stranger's manifest can say any number
        return "?"
