"""Checks of options that several commands take."""

from __future__ import annotations

from ..errors import BadInput


def check_ranges(*options: tuple[str, int | None, int]) -> None:
    """Refuse a number that is below its least value or does not fit into 64 bits.

    Parameters
    ----------
    *options : (str, int or None, int)
        Name on the command line, value (None: not given) and least value.

    Raises
    ------
    BadInput
    """
    for name, value, least in options:
        if value is not None and not least <= value < 2**63:
            raise BadInput(f"--{name} must be {least} or more, and below 2^63, not {value}.", key=name)


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
