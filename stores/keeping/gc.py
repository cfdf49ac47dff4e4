"""Garbage collection: what nobody needs is recorded first, and deleted once it has been so for a grace period.

The record, ``gc/candidates.json``, says since when nobody has needed each thing, by the storage's own clock: an object
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

from ...checksummed import checksum_holds, dump_document
from ...errors import BadInput, CryoprobeError, NotFound, Unavailable
from ...parallel import run_each
from ...progress import Reporter
from ...reporting import reporter_for
from ..backends.backend import Backend
from ..format.documents import read_json
from ..format.pins_and_removals import removals
from ..format.sample_names import parse_key
from ..format.trials import names_predictions
from ..keys import id_in
from ..opening import open_store
from ..store import Store
from ..writing.fences import fence, has_no_data
from .unreferenced import AT_ONCE, Unreferenced, find_unreferenced, is_left, standings

GRACE_SECONDS = 86400.0

CANDIDATES = "gc/candidates.json"
_CLOCK = "gc/clock"
_AT_ONCE = 1024
"""Things that one fence names: writers of just these wait until they are deleted."""

_SAME_STORAGE_SECONDS = 3600.0
"""A record that was written at another time than it says has come from other storage, with another clock."""


@dataclass(frozen=True)
class Garbage:
    """One thing that nobody needs.

    Parameters
    ----------
    kind, place : str
        See `unreferenced.Unreferenced`.
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
    progress: bool = True,
    reporter: Reporter | None = None,
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
    progress : bool
        Show a bar if standard error is a terminal, or in a notebook.
    reporter : Reporter, optional
        Is told instead how far it is.

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
    reporter = reporter_for(progress, reporter)
    opened = open_store(store).own
    backend = opened.backend
    now = storage_time(backend) if delete else time.time()
    recorded = _recorded(backend)
    found = find_unreferenced(opened, now, reporter)
    since = {w.place: w.since if w.since is not None else recorded.get(w.place, now) for w in found}
    if delete and (since or recorded):
        backend.put(CANDIDATES, dump_document({"at": now, "since": since}))
    waiting = {w.place: 0.0 if w.kind in AT_ONCE else max(0.0, grace - (now - since[w.place])) for w in found}
    due = [w for w in found if not waiting[w.place]]
    deleted = _delete(backend, due, reporter) if delete else set()
    garbage = [Garbage(w.kind, w.place, w.size, waiting[w.place], w.place in deleted) for w in found]
    return Collected(tuple(sorted(garbage, key=lambda g: g.place)), delete, grace)


def collect_removed(store: Store, sets: Collection[str], reporter: Reporter) -> None:
    """Delete the data of removed sets now, and the units that go with them; of what is gone the removal is over."""
    backend = store.backend
    removed = {key: r for key, r in removals(backend).items() if r.set in sets}
    folders = {folder for r in removed.values() for folder in r.folders}
    found = find_unreferenced(store, storage_time(backend), reporter)
    _delete(backend, [w for w in found if w.place in folders], reporter)
    for key, removal in removed.items():
        if removal.attempt and not is_left(backend, removal):
            backend.delete(key)


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
        content = read_json(backend, CANDIDATES)
        written = next((o.modified for o in backend.inspect("gc/") if o.key == CANDIDATES), None)
        if checksum_holds(content) and written is not None and abs(written - content["at"]) < _SAME_STORAGE_SECONDS:
            return {place: float(t) for place, t in content["since"].items()}
    return {}


def _delete(backend: Backend, due: Collection[Unreferenced], reporter: Reporter) -> set[str]:
    """Delete what nobody has sealed or needed meanwhile; return the places of what is gone."""
    deleted: set[str] = set()

    def gone(found: Unreferenced) -> None:
        deleted.add(found.place)
        reporter.advance(1)

    with reporter.task("Deleting", len(due), "objects"):
        _delete_folders(backend, [w for w in due if w.kind in ("attempt", "unit")], gone)
        for w in due:
            if w.kind == "temporary file":
                backend.discard(w.objects[0])
                gone(w)
            elif w.kind in ("name", "predictions"):
                if (_delete_name if w.kind == "name" else _delete_predictions)(backend, w.place):
                    gone(w)
            elif w.kind not in ("attempt", "unit"):
                _delete_keys(backend, [o.key for o in w.objects])
                gone(w)
    return deleted


def _delete_folders(backend: Backend, due: Sequence[Unreferenced], gone: Callable[[Unreferenced], None]) -> None:
    """Delete attempts and units behind a fence, where none is sealed or needed; call `gone` for each."""
    ordered = sorted(due, key=lambda w: w.kind)
    for batch in (ordered[i : i + _AT_ONCE] for i in range(0, len(ordered), _AT_ONCE)):
        attempts = [w for w in batch if w.kind == "attempt"]
        units = [w for w in batch if w.kind == "unit"]
        folders = [w.place for w in batch]
        with fence(backend, folders, [w.objects[0].key for w in units]):
            sealed = standings(backend, {*folders, *(needed for w in units for needed in w.needs)})
            for w in attempts:
                if sealed[w.place] is False:
                    # Listed anew: its writer may have gone on since, and sealed it this instant. Then nothing is left,
                    # or all is, and never a part.
                    _delete_keys(backend, list(backend.keys(f"{w.place}/")))
                    gone(w)
            for w in units:
                if not sealed[w.place] or (w.dataless and not has_no_data(backend, w.place)):
                    continue  # somebody else has removed it, and perhaps made it again
                if all(sealed[needed] for needed in w.needs):  # the sets that have its rows are still there
                    # The seal goes first. An extractor that had read it finds the rows in those sets, or encodes them.
                    backend.delete(w.objects[0].key)
                    _delete_keys(backend, list(backend.keys(f"{w.place}/")))
                    gone(w)


def _delete_name(backend: Backend, key: str) -> bool:
    """Delete a name of a removed set, or of its samples; return False if the set has been made again meanwhile."""
    called = parse_key(key)
    set_ = id_in(key) if called is None else called.set

    def is_there() -> bool:
        return any(id_in(manifest) == set_ for manifest in backend.keys("manifests/"))

    try:
        data = backend.get(key)
    except NotFound:
        return True
    if is_there():
        return False
    backend.delete(key)
    if is_there():
        backend.put_if_absent(key, data)
        return False
    return True


def _delete_predictions(backend: Backend, key: str) -> bool:
    """Delete predictions that no trial names; return False if one does by now, or cannot be read."""
    if names_predictions(backend, key):
        return False
    backend.delete(key)
    return True


def _delete_keys(backend: Backend, keys: Sequence[str]) -> None:
    run_each(backend.delete, keys)
