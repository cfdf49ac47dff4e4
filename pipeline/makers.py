"""Who has extracted which content under a name: told apart by their machines, since the same path is on many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from socket import gethostname

from ..amounts import count, when
from ..errors import CryoprobeError
from ..printable import one_line
from ..stores.format.names import Maker, NamedSet
from ..stores.local.sample_index import SampleIndex
from ..stores.store import Store
from .datasets import is_own
from .provenance import user_name

_MOST_LISTED = 4
"""People that a line names."""


def this_machine(samples: SampleIndex, source: str | None = None) -> Maker:
    """Return who extracts here and now; `source` is where the data are, if their name does not say so."""
    return Maker(user=user_name(), host=gethostname(), machine=samples.machine, source=source)


def makers(store: Store, named: NamedSet) -> Sequence[Maker]:
    """Return who extracted a set under its name, the last one first; at least one, which may be unknown."""
    if named.by:
        return named.by[::-1]
    with suppress(CryoprobeError):
        made = store.open(named.set).manifest.provenance
        return (Maker(user=made.user, host=made.host, named=named.named),)
    return (Maker(named=named.named),)


def are_unknown(found: Sequence[Maker]) -> bool:
    """Return whether nothing is recorded of them."""
    return all(maker.machine is None and maker.user is None for maker in found)


def share_one(some: Sequence[Maker], others: Sequence[Maker]) -> bool:
    """Return whether somebody is among both."""
    return any(a.is_also(b) for a in some for b in others)


def said_of(found: Sequence[Maker], *, machines: bool = False) -> str:
    """Return who extracted something, from where, and when; with digits of their machines, if names do not tell.

    Examples
    --------
    >>> said_of([Maker(user="ada", host="lab", source="folder:/d")])
    'ada@lab from folder:/d, -'
    """
    each = []
    for maker in found[:_MOST_LISTED]:
        machine = f" (machine {maker.machine[:4]})" if machines and maker.machine else ""
        source = f" from {maker.source}" if maker.source else ""
        each.append(one_line(f"{maker.user or '?'}@{maker.host or '?'}{machine}{source}, {when(maker.named)}"))
    return "; ".join(each)


def current(store: Store, named: Sequence[NamedSet]) -> list[NamedSet]:
    """Leave out the contents of a given name in whose place all their makers have put newer ones.

    A path, and every other name that nobody gave, keeps every content.
    """
    if not named or not is_own(named[0].name.dataset):
        return [*named]
    every = [(maker, n) for n in named for maker in makers(store, n)]
    newest: list[tuple[Maker, NamedSet]] = []
    for maker, n in sorted(every, key=lambda made: -made[0].named):
        if not any(maker.is_also(known) for known, _ in newest):
            newest.append((maker, n))
    kept = {n.set for _, n in newest}
    return [n for n in named if n.set in kept]


def about_name(store: Store, set_id: str, earlier: Sequence[NamedSet], me: Maker) -> Iterator[str]:
    """Yield what is to be said when a set gets a name that other contents have.

    Parameters
    ----------
    store : Store
    set_id : str
    earlier : sequence of NamedSet
        What has that name so far, of the same encoder.
    me : Maker
        Who gives it.
    """
    others = [n for n in current(store, earlier) if n.set != set_id and n.origin is None]
    mine = [n for n in others if share_one([me], makers(store, n))]
    if mine and is_own(mine[0].name.dataset):
        name = mine[0].name
        yield f"{name.dataset} ({name.split}) was set {mine[0].set[:12]} ({count(mine[0].rows, 'row')}) until now"
    for n in [n for n in others if n not in mine][:_MOST_LISTED]:
        yield (
            f"{n.name.dataset} ({n.name.split}) is the name of other content too: set {n.set[:12]} "
            f"({count(n.rows, 'row')}), by {said_of(makers(store, n))}. A machine that has extracted neither will ask "
            "which is meant; another name keeps them apart: --as NAME"
        )
