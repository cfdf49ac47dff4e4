"""What is said of a name that its library does not know, or that says no weights."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NoReturn

from ...errors import BadInput, NotFound
from .families import TABLE, ModelName

FEW = 4
"""How many names an error message offers where none is close."""


def unknown(name: str, part: str, known: Sequence[str], prefix: str) -> NoReturn:
    """Say that there is no such encoder, and what may be meant.

    Parameters
    ----------
    name : str
        As it was given.
    part : str
        What of it is not known.
    known : sequence of str
        What could stand in its place.
    prefix : str
        What stands before that.

    Raises
    ------
    NotFound
    """
    from .near_names import known_elsewhere, near_names

    if (ours := known_elsewhere(name)) is not None and ours != name:
        near, prefix = near_names(name), ""
    else:
        near = difflib.get_close_matches(part, known, n=4, cutoff=0.5) or [*(known if len(known) <= FEW else ())]
    meant = f"Did you mean {' or '.join(prefix + match for match in near)}? " if near else ""
    raise NotFound(f"There is no encoder {name}.", hint=f"{meant}`cryoprobe models PATTERN` lists the names.", key=name)


def no_weights(named: ModelName, tags: Sequence[str]) -> NoReturn:
    """Say that a name is that of an architecture alone, and which weights there are.

    Raises
    ------
    BadInput
    """
    bare, joint = f"{named.family}:{named.architecture}", TABLE[named.family].joint
    choice = f"Name them as {bare}{joint}TAG ({', '.join(tags)}); or" if tags else "There are none published for it;"
    raise BadInput(
        f"{named.name} says which architecture, not which weights.",
        hint=f"{choice} pass --checkpoint FILE, or --untrained --seed 0 for random ones.",
        key=named.name,
    )
