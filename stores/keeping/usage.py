"""What a store takes: bytes by set, by model, and of everything beside the sets. Shared bytes are counted once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import CryoprobeError
from ...parallel import each
from ..backends.backend import Backend, ObjectDetails
from ..format.names import Name, NamedSet, matching
from ..format.predictions import PREDICTIONS
from ..format.unit_seal import read_unit_seal
from ..keys import id_in, unit_folder
from ..opening import open_store
from ..store import Store
from .quarantine import QUARANTINE


@dataclass(frozen=True)
class SetUsage:
    """What one set takes.

    Parameters
    ----------
    set : str
    name : Name or None
        Its newest name.
    size : int
        Bytes of its objects.
    own : int
        Those of them that neither another set nor a unit shares on the disk: what comes free with the set alone. In a
        bucket nothing is shared.
    """

    set: str
    name: Name | None
    size: int
    own: int


@dataclass(frozen=True)
class Usage:
    """What a store takes, in bytes. Bytes that objects share on a disk are counted once, for the first in this order.

    Parameters
    ----------
    sets : tuple of SetUsage
        Largest first; only these are chosen by patterns.
    models : dict of str to int
        Bytes of all those sets of each model together, largest first.
    units : int
        Sealed rows from which sets are made, beside what the sets share with them.
    abandoned : int
        What no seal refers to: attempts of writers that were killed, or are at work, and removed sets.
    trials : int
        Results, and what was predicted for each row.
    quarantine : int
        Damaged objects that `repair` has set aside.
    other : int
        Manifests, seals, names, claims and all the rest.
    leftovers : int
        Temporary files of writers that were killed, or are at work.
    total : int
        The whole store, whatever the patterns.
    """

    sets: tuple[SetUsage, ...]
    models: dict[str, int]
    units: int
    abandoned: int
    trials: int
    quarantine: int
    other: int
    leftovers: int
    total: int


def du(
    store: str | Path | Store,
    *,
    model: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    tap: str | None = None,
) -> Usage:
    """Add up what a store takes, by one listing, its unit seals and its names.

    Parameters
    ----------
    store : str, Path or Store
    model, dataset, split, tap : str, optional
        Patterns (``timm:vit*``) that choose the sets that are told apart; everything else is of the whole store.

    Returns
    -------
    Usage
    """
    opened = open_store(store).own
    backend = opened.backend
    sealed, sets = _sealed_folders(backend), opened.sealed_folders()
    by_folder, abandoned, rest = _sorted_out(backend.inspect(), {*sealed, *sets})

    names = opened.names()
    named = {n.set: n for n in reversed(names)}
    owners: dict[tuple[int, int], int] = {}  # in how many objects of sets and units the bytes of a file are
    for o in (o for members in by_folder.values() for o in members if o.file is not None):
        assert o.file is not None
        owners[o.file] = owners.get(o.file, 0) + 1
    patterns = {"model": model, "dataset": dataset, "split": split, "tap": tap}
    fitting = {n.set for n in matching(names, NamedSet.field, patterns)}
    chosen = []
    for folder, set_ in sets.items():
        if set_ in fitting or not any(p is not None for p in patterns.values()):
            members = by_folder.get(folder, [])
            own = sum(o.size for o in members if o.file is None or owners[o.file] == 1)
            name = named[set_].name if set_ in named else None
            chosen.append((SetUsage(set_, name, sum(o.size for o in members), own), members))
    chosen.sort(key=lambda c: (-c[0].size, c[0].set))
    models: dict[str, list[ObjectDetails]] = {}
    for usage, members in chosen:
        models.setdefault(usage.name.model if usage.name else "?", []).extend(members)

    once = _Once()
    once.add(o for folder in sets for o in by_folder.get(folder, ()))
    units = once.add(o for folder in sealed for o in by_folder.get(folder, ()))
    unsealed = once.add(abandoned)
    trials = once.add(o for o in rest if o.key.startswith(("trials/", PREDICTIONS)))
    quarantine = once.add(o for o in rest if o.key.startswith(QUARANTINE))
    other = once.add(o for o in rest if not o.key.startswith(("trials/", PREDICTIONS, QUARANTINE)))
    leftovers = once.add(backend.leftovers())
    return Usage(
        sets=tuple(usage for usage, _ in chosen),
        models=dict(sorted(((m, _Once().add(o)) for m, o in models.items()), key=lambda item: -item[1])),
        units=units,
        abandoned=unsealed,
        trials=trials,
        quarantine=quarantine,
        other=other,
        leftovers=leftovers,
        total=once.total,
    )


def _sorted_out(
    objects: Iterable[ObjectDetails], folders: Collection[str]
) -> tuple[dict[str, list[ObjectDetails]], list[ObjectDetails], list[ObjectDetails]]:
    """Return the objects of sealed sets and units by their folder, those of others, and all that is beside them."""
    by_folder: dict[str, list[ObjectDetails]] = {}
    abandoned, rest = [], []
    for o in objects:
        segments = o.key.split("/")
        folder = "/".join(segments[: {"sets": 3, "units": 4}.get(segments[0], 0)])
        if folder in folders:
            by_folder.setdefault(folder, []).append(o)
        elif folder:
            abandoned.append(o)
        else:
            rest.append(o)
    return by_folder, abandoned, rest


class _Once:
    """Adds up bytes, those that objects share only once."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: set[tuple[int, int]] = set()

    def add(self, objects: Iterable[ObjectDetails]) -> int:
        """Return the bytes that `objects` add to what was added before."""
        before = self.total
        for o in objects:
            if o.file is None:
                self.total += o.size
            elif o.file not in self._seen:
                self._seen.add(o.file)
                self.total += o.size
        return self.total - before


def _sealed_folders(backend: Backend) -> set[str]:
    """Return the folders of the sealed units; a damaged seal has none."""

    def folder(key: str) -> str | None:
        with suppress(CryoprobeError):
            seal = read_unit_seal(backend, key.split("/")[1], id_in(key))
            return None if seal is None else unit_folder(seal.encoder, seal.unit, seal.attempt)
        return None

    found: Iterator[str | None] = each(folder, [info.key for info in backend.list("unit-seals/")])
    return {f for f in found if f is not None}
