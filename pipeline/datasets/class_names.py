"""Names of classes as people and file systems write them: which are one, and which only look so."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set

_NAMED = 3
"""How many pairs of classes are named."""


_MISSING = {"", "nan", "<na>"}


def is_missing(label: str) -> bool:
    """Return whether a label is none: empty, or what pandas writes for a missing value."""
    return label.strip().lower() in _MISSING


def one_form(names: Iterable[str], known: Iterable[str] = ()) -> dict[str, str]:
    r"""Return the class of each name. Names that differ only in their Unicode form (é, or e and an accent) are one.

    A name that occurs in one form keeps it, so that it does not change a data set's id. Of several forms, NFC is taken,
    or the one that is in `known`.

    Examples
    --------
    >>> one_form(["caf\u00e9", "cafe\u0301"]) == {"caf\u00e9": "caf\u00e9", "cafe\u0301": "caf\u00e9"}
    True
    """
    forms = defaultdict(set)
    for name in names:
        forms[unicodedata.normalize("NFC", name)].add(name)
    chosen = {nfc: nfc if len(group) > 1 else next(iter(group)) for nfc, group in forms.items()}
    chosen |= {unicodedata.normalize("NFC", name): name for name in known}
    return {name: chosen[nfc] for nfc, group in forms.items() for name in group}


def alike(names: Mapping[str, Set[str]]) -> list[str]:
    """Return notes of classes that are probably one: they differ in case, blanks or how a number is written.

    Only if they are in different splits: a split that has both tells them apart.

    Parameters
    ----------
    names : mapping of str to set of str
        The classes of each split.

    Examples
    --------
    >>> alike({"train": {"Cat"}, "test": {"cat"}})
    ["The classes 'Cat' (train) and 'cat' (test) are two, though they differ only in how they are written"]
    >>> alike({"train": {"A", "a"}, "test": {"A", "a"}})
    []
    """
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for split, present in names.items():
        for name in sorted(present):
            nfc = unicodedata.normalize("NFC", name)
            groups[_key(nfc)][nfc].append(split)
    notes = []
    for written in groups.values():
        if len(written) > 1 and len({frozenset(splits) for splits in written.values()}) > 1:
            (one, its), (other, others) = sorted(written.items())[:2]
            notes.append(
                f"The classes {one!r} ({', '.join(its)}) and {other!r} ({', '.join(others)}) are two, though they "
                "differ only in how they are written"
            )
    more = len(notes) - _NAMED
    return notes[:_NAMED] + ([f"… and {more} more pairs of classes that differ only so"] if more > 0 else [])


def _key(name: str) -> str:
    plain = " ".join(name.split()).casefold()
    try:
        return repr(float(plain)) if plain[:1] in "+-.0123456789" and plain else plain
    except ValueError:
        return plain
