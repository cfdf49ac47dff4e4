"""Class names: told apart where several classes share one, and matched between lists that were written elsewhere.

A class is its place in a list. Names can repeat (ImageNet has two cranes and two maillots), and one name can be written
in two Unicode forms: composed, as most systems write é, or decomposed, as a Mac's archive does.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence


def composed(name: str) -> str:
    """Return a name in Unicode's normal form C, in which names are compared."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def distinct(names: Iterable[str]) -> list[str]:
    """Return names as they are shown: of several classes of one name the second is called ``name (2)``.

    Examples
    --------
    >>> distinct(["crane", "dog", "crane"])
    ['crane', 'dog', 'crane (2)']
    """
    given = list(names)
    taken = {composed(name) for name in given}
    shown: list[str] = []
    seen: Counter[str] = Counter()
    for name in given:
        key = composed(name)
        seen[key] += 1
        new = name
        if seen[key] > 1:
            number = seen[key]
            while composed(new := f"{name} ({number})") in taken:
                number += 1
            seen[key] = number
            taken.add(composed(new))
        shown.append(new)
    return shown


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that several classes share."""
    return [name for name, times in Counter(map(composed, names)).items() if times > 1]


def places_of(names: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Return where each of `names` stands in `known`; None for one that does not.

    Names are compared in their composed form. If several classes share a name, the first of `names` is the first of
    `known`, the second the second, and so on: nothing else tells them apart.
    """
    places: defaultdict[str, deque[int]] = defaultdict(deque)
    for place, name in enumerate(known):
        places[composed(name)].append(place)
    return [places[key].popleft() if places[key] else None for key in map(composed, names)]


def almost(name: str) -> str:
    """Return what names have in common that differ only in case or in outer blanks."""
    return composed(name).strip().casefold()
