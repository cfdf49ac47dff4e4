"""`repair`: put damaged objects of a store right, from whole copies of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...progress import Reporter
from ...reporting import reporter_for
from ..format.origins import arriving
from ..keys import id_in
from ..local.config import is_trusted
from ..opening import open_store
from ..store import Store
from .repair_from_copies import Repair, Restorer, mend_marker
from .verify import Damage, verify


def repair(
    store: str | Path | Store,
    sets: Sequence[str] = (),
    *,
    source: str | Path | Store | None = None,
    trust: bool = False,
    progress: bool = True,
    reporter: Reporter | None = None,
) -> list[Repair]:
    """Hash every object of a store, and put right what is damaged.

    A damaged object is copied to the store's ``quarantine/`` and replaced by a whole one: a copy elsewhere in the
    store, what its manifest amounts to, or a copy in another store. Damaged units, names and trials of which there is
    no copy are set aside: what they held is made again when it is needed. A set of which there is none stays as it is;
    `rm` and `extract` make it again.

    Parameters
    ----------
    store : str, Path or Store
    sets : sequence of str
        Ids of sets, or their first digits; with none, the whole store.
    source : str, Path or Store, optional
        Another store that may have what is damaged here. Unless a configuration file lists it, its names and trials
        are not taken, and a set of which data had to be fetched there is not trusted from then on.
    trust : bool
        Trust the other store.
    progress : bool
        Show a bar if standard error is a terminal, or in a notebook.
    reporter : Reporter, optional
        Is told instead how far it is.

    Returns
    -------
    list of Repair
        What was done about each damage; empty for a store that is whole.

    Raises
    ------
    NotFound, BadInput, ReadOnly, Unavailable, Incompatible

    Guarantees
    ----------
    What is whole is neither changed nor deleted, and what is damaged is not deleted. A reader sees the damage or the
    whole object. Killed at any instant, the same call goes on.
    """
    reporter = reporter_for(progress, reporter)
    marker = None if isinstance(store, Store) else mend_marker(store)
    opened = open_store(store).own
    other = None if source is None else open_store(source)
    place = source.url if isinstance(source, Store) else source
    origin = None if other is None or place is None or trust or is_trusted(place) else arriving(other.url, "pull")
    restorer = Restorer(opened, other, origin)
    chosen = [id_in(opened.manifest_key(s)) for s in sets]
    known: dict[str, Damage] = {}
    done: dict[str, Repair] = {}
    for _ in range(2):  # what a restored seal promises can be damaged too
        found = verify(opened, chosen, data=True, reporter=reporter)
        fresh = [d for d in found.damages if d.key not in known]
        known.update({d.key: d for d in fresh})
        done.update({d.key: restorer.restore(d) for d in fresh})
        if not any(d.key == d.seal and done[d.key].action == "restored" for d in fresh):
            break
    for key, damage in known.items():
        if done[key].action == "not repaired":
            again = restorer.restore(damage)  # a set that was put right may have the unit's rows
            done[key] = again if again.action == "restored" else restorer.give_up(damage)
    return [*([marker] if marker is not None else []), *done.values()]
