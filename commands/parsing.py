"""Texts that are typed as options, and the values that they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import BadInput

_OVERRIDE = re.compile(r"[A-Za-z_][\w.-]*=")

_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_numbers(text: str, name: str, kind: type[int] | type[float]) -> tuple[int | float, ...]:
    """Read numbers separated by commas; none from an empty text.

    Raises
    ------
    BadInput
        If one is not a number of that kind.
    """
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        example = "1,2,4,8,16" if kind is int else "0.01,0.1"
        raise BadInput(
            f"--{name} takes numbers separated by commas, not {text!r}.",
            hint=f"For example --{name} {example}",
            key=name,
        ) from None


def parse_share(text: str, name: str) -> float:
    """Read a part of a whole: ``5%`` or ``0.05``.

    Raises
    ------
    BadInput
        If it is not more than nothing, and at most everything.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*", text)
    share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < share <= 1:
        raise BadInput(f"--{name} takes a part of the whole, not {text!r}.", hint=f"For example --{name} 5%", key=name)
    return share


def split_overrides(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the file among arguments, if there is one, and those of the form ``key=value``.

    Raises
    ------
    BadInput
        If there are several files.
    """
    files = [word for word in words if not _OVERRIDE.match(word)]
    if len(files) > 1:
        raise BadInput(
            f"{files[1]} is a second suite, after {files[0]}.", hint="Name one; options are KEY=VALUE.", key=files[1]
        )
    return files[0] if files else None, [word for word in words if _OVERRIDE.match(word)]


def parse_seconds(text: str, name: str) -> float:
    """Read a span of time in seconds: ``24h``, ``30 min``, ``7d``, ``0s``; a number alone is seconds.

    Raises
    ------
    BadInput
        If `text` has another form.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w|)\s*", text.lower())
    if found is None:
        raise BadInput(f"--{name} takes a span of time, not {text!r}.", hint=f"For example --{name} 24h", key=name)
    return float(found[1]) * _SECONDS[found[2]]
