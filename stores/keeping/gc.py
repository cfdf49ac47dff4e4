"""Garbage collection: what nobody needs is recorded first, and deleted once it has been so for a grace period.

The record, ``gc/candidates.json``, says since when each thing has been waste, by the storage's own clock: an object
that this run has just written tells the time. No other clock is looked at, so that one that is an hour wrong, here or
at whoever wrote the data, changes nothing. The grace period spares writers work, and readers errors; what keeps a
sealed set from losing its data are the `fences`, which need no clock at all.

Deleting goes from what refers to what is referred to: a unit's seal, then its data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadInput, CryoprobeError, Unavailable
from .. import layout
from ..backends.backend import Backend
from ..fences import fence, is_hollow
from ..parallel import each
from ..store import Store, open_store
from .records import Removal
from .waste import AT_ONCE, Waste, find_waste, still_unsealed

GRACE_SECONDS = 86400.0

CANDIDATES = "gc/candidates.json"
_CLOCK = "gc/clock"
_SAME_STORAGE_SECONDS = 3600.0
"""A record that was written at another time than it says has come from other storage, with another clock."""


@dataclass(frozen=True)
class Garbage:
    """One thing that nobody needs.

    Parameters
    ----------
    kind, place : str
        See `waste.Waste`.
    size : int
        Bytes that come free with it, once everything else that was found is deleted too.
    waiting : float
        Seconds until its grace period is over; 0 when it is.
    deleted : bool
    """

    kind: str
    place: str
    size: int
    waiting: float
    deleted: bool


@dataclass(frozen=True)
class Collected:
    """What a garbage collection found.

    Parameters
    ----------
    garbage : tuple of Garbage
        Ordered by place.
    delete : bool
        Whether what was due was to be deleted.
    grace : float
        In seconds.
    """

    garbage: tuple[Garbage, ...]
    delete: bool
    grace: float

    @property
    def freed(self) -> int:
        """Bytes of what was deleted."""
        return sum(g.size for g in self.garbage if g.deleted)


def gc(
    store: str | Path | Store,
    *,
    delete: bool = False,
    grace: float = GRACE_SECONDS,
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Find what nobody needs in a store, and delete what has been so for the grace period.

    That is: attempts that no seal names, as killed writers and removed sets leave them; sealed units whose rows are all
    in sets; claims and temporary files of the dead; and what `repair` has set aside. Kept is all that is sealed, named,
    pinned, or wanted by a living writer.

    Parameters
    ----------
    store : str, Path or Store
    delete : bool
        Otherwise nothing is written or deleted, and the times are those of this machine's clock.
    grace : float
        Seconds for which something must have been found before it is deleted. The first run with `delete` that finds it
        starts the period, but for removed sets, where `rm` does. 0 deletes at once: it costs writers who are at work
        what they have not sealed, and nothing else.
    progress : callable, optional
        Called with (things deleted, things to delete).

    Returns
    -------
    Collected

    Raises
    ------
    BadInput
        If the grace period is negative.
    ReadOnly, Unavailable

    Guarantees
    ----------
    No set or unit that is sealed loses an object, whenever it was sealed and whatever the clocks say. Killed at any
    instant, the same call goes on.
    """
    if not grace >= 0:
        raise BadInput(f"A grace period is 0 seconds or more, not {grace:g}.", key="grace")
    opened = open_store(store).own
    backend = opened.backend
    now = storage_time(backend) if delete else time.time()
    recorded = _recorded(backend)
    waste = find_waste(opened, now)
    since = {w.place: w.since if w.since is not None else recorded.get(w.place, now) for w in waste}
    if delete and (since or recorded):
        backend.put(CANDIDATES, layout.dump_seal({"at": now, "since": since}))
    waiting = {w.place: 0.0 if w.kind in AT_ONCE else max(0.0, grace - (now - since[w.place])) for w in waste}
    due = [w for w in waste if not waiting[w.place]]
    deleted = _delete(backend, due, progress) if delete else set()
    garbage = [Garbage(w.kind, w.place, w.size, waiting[w.place], w.place in deleted) for w in waste]
    return Collected(tuple(sorted(garbage, key=lambda g: g.place)), delete, grace)


def collect_removed(store: Store, removed: Collection[Removal]) -> None:
    """Delete the data of removed sets now, and the units that go with them."""
    folders = {layout.set_folder(r.set, r.attempt) for r in removed}
    units = {f"units/{r.encoder}/{unit}/" for r in removed for unit in r.units}
    waste = find_waste(store, storage_time(store.backend))
    _delete(store.backend, [w for w in waste if w.place in folders or w.place[: w.place.rfind("/") + 1] in units])


def storage_time(backend: Backend) -> float:
    """Return the time by the storage's own clock, in seconds since 1970: that of an object written just now."""
    backend.put(_CLOCK, b"")
    for o in backend.inspect("gc/"):
        if o.key == _CLOCK and o.modified is not None:
            return o.modified
    raise Unavailable(f"{backend.url} does not tell when its objects were written.", key=_CLOCK)


def _recorded(backend: Backend) -> dict[str, float]:
    """Return since when each candidate has been one; nothing where the record is damaged, or of another clock."""
    with suppress(CryoprobeError):
        content = layout.read_json(backend, CANDIDATES)
        written = next((o.modified for o in backend.inspect("gc/") if o.key == CANDIDATES), None)
        whole = isinstance(content, dict) and layout.is_whole(content)
        if whole and written is not None and abs(written - content["at"]) < _SAME_STORAGE_SECONDS:
            return {place: float(t) for place, t in content["since"].items()}
    return {}


def _delete(backend: Backend, due: Collection[Waste], progress: Callable[[int, int], None] | None = None) -> set[str]:
    """Delete what nobody has sealed or needed meanwhile; return the places of what is gone."""
    deleted: set[str] = set()

    def gone(waste: Waste) -> None:
        deleted.add(waste.place)
        if progress is not None:
            progress(len(deleted), len(due))

    attempts = [w for w in due if w.kind == "attempt"]
    units = [w for w in due if w.kind == "unit"]
    if attempts or units:
        with fence(backend, [w.place for w in (*attempts, *units)]):
            unsealed = still_unsealed(backend, [w.place for w in attempts])
            for w in attempts:
                if w.place in unsealed:
                    # Listed anew: its writer may have gone on since, and sealed it this instant. Then nothing is left,
                    # or all is, and never a part.
                    _delete_keys(backend, list(backend.keys(f"{w.place}/")))
                    gone(w)
            sets = {info.key for info in backend.list("manifests/")} if units else set()
            hollow = [w.place for w in units if len(w.objects) == 1]  # of which nothing but the seal was left
            replaced = still_unsealed(backend, hollow)
            for w in units:
                if w.place in hollow and (w.place in replaced or not is_hollow(backend, w.place)):
                    continue
                if w.needs <= sets:  # the sets that have its rows are still there
                    # The seal goes first. An extractor that had read it finds the rows in those sets, or encodes them.
                    backend.delete(w.objects[0].key)
                    _delete_keys(backend, [o.key for o in w.objects])
                    gone(w)
    for w in due:
        if w.kind == "temporary file":
            backend.discard(w.objects[0])
            gone(w)
        elif w.kind not in ("attempt", "unit"):
            _delete_keys(backend, [o.key for o in w.objects])
            gone(w)
    return deleted


def _delete_keys(backend: Backend, keys: Sequence[str]) -> None:
    for _ in each(backend.delete, keys):
        pass
