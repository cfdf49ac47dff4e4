"""How single values are written: text, times, amounts, and what is said of a set. Pure: nothing here prints."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...amounts import when as when
from ...printable import one_line
from ...stores.format.names import options_in, spelled

if TYPE_CHECKING:
    from ...stores.format.origins import Origin


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
