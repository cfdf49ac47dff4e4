"""How single values are written: text, times, amounts, and what is said of a set. Pure: nothing here prints."""

from __future__ import annotations

import datetime
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...stores.names import options_in, spelled

if TYPE_CHECKING:
    from ...stores.origins import Origin

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


def when(milliseconds: int | None) -> str:
    """Return a time stamp as people read it, in their own time zone."""
    if not milliseconds:
        return "-"
    try:
        return datetime.datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):  # a stranger's manifest can say any number
        return "?"


def size(n: int) -> str:
    """Return a number of bytes as people read it."""
    value = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def shell(words: Iterable[str]) -> str:
    """Return a command as one would type it."""
    return one_line(shlex.join(words))


def versions(found: Mapping[str, str]) -> str:
    """Return which packages made something, in one line."""
    return ", ".join(f"{package} {version}" for package, version in found.items()) or "no versions"


def remarks(name: Mapping[str, Any], *more: str) -> str:
    """Return the options with which a set was extracted, if they are not the default ones, and further remarks."""
    return ", ".join(said for said in (spelled(options_in(name)), *more) if said)


def came_from(origin: Origin) -> str:
    """Return where a set came from, and whether it is trusted."""
    arrived = f", {when(origin.arrived)}" if origin.arrived else ""
    return one_line(f"from {origin.place} ({'trusted' if origin.trusted else 'not trusted'}{arrived})")
