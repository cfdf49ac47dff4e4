"""Verification: every object of every sealed set is held against what its manifest says."""

from __future__ import annotations

import errno
import math
import random
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...errors import BadInput, Corrupt, Incompatible, NotFound, Unavailable
from ...parallel import each, within_memory
from ...progress import Reporter
from ...reporting import reporter_for
from ..backends.backend import Backend
from ..chunks import ObjectRecord, record_of
from ..format.manifest import read_manifest
from ..format.names import NamedSet
from ..format.pins_and_removals import removals
from ..format.predictions import PREDICTIONS, record_in
from ..format.sample_names import ListKey, check_list, list_keys, most_bytes
from ..format.stored_names import read_name
from ..format.trials import names_predictions
from ..format.unit_seal import read_unit_seal
from ..keys import id_in, manifest_key
from ..opening import open_store
from ..store import Store


@dataclass(frozen=True)
class Damage:
    """One object that is not what was sealed.

    Parameters
    ----------
    key : str
        The object.
    owner : str
        The set or unit that needs it.
    problem : str
        ``missing``, ``wrong size``, ``changed``, ``unreadable`` or ``damaged seal``.
    expected, found : str
    seal : str
        Key of the manifest, unit seal or trial by which it is needed. Without that seal the object is needed no more,
        and `extract` makes what is missing again. (What a trial said of each row, `probe --rerun` makes again.)
    """

    key: str
    owner: str
    problem: str
    expected: str
    found: str
    seal: str


class _Wanted(NamedTuple):
    """An object that a seal promises."""

    key: str
    owner: str
    record: ObjectRecord
    seal: str


@dataclass(frozen=True)
class Verification:
    """What a verification looked at, and what it found.

    Parameters
    ----------
    sets, units, objects, bytes : int
        Which it looked at: that each object is there, in its size. Among the objects is what trials said of each row.
    data : bool
        Whether it read objects too.
    damages : tuple of Damage
    hashed, hashed_bytes : int
        Objects that it read and hashed. The others may hold anything of the right size.
    """

    sets: int
    units: int
    objects: int
    bytes: int
    data: bool
    damages: tuple[Damage, ...]
    hashed: int = 0
    hashed_bytes: int = 0


def verify(
    store: str | Path | Store,
    sets: Sequence[str] = (),
    *,
    data: bool = False,
    share: float = 1.0,
    seed: int = 0,
    progress: bool = True,
    reporter: Reporter | None = None,
) -> Verification:
    """Check sets, the units that future extractions would reuse, and trials.

    Parameters
    ----------
    store : str, Path or Store
    sets : sequence of str
        Ids of sets, or their first digits; with none, every set and every unit of the store.
    data : bool
        Read and hash every object. Otherwise manifests are read, and presence and sizes are compared by listing,
        which finds neither flipped bits nor swapped chunks.
    share : float
        With `data`, which part of the objects to read: a random one, of at least one object. Other seeds read other
        parts.
    seed : int
        Draws that part.
    progress : bool
        Show a bar if standard error is a terminal, or in a notebook.
    reporter : Reporter, optional
        Is told instead how far it is.

    Returns
    -------
    Verification

    Raises
    ------
    Unavailable
        If storage fails, or refuses to be read: then nothing is known of its objects.
    """
    if not 0 < share <= 1:
        raise BadInput(f"The part of the objects to read is more than 0 and at most all of them, not {share:g}.")
    if share < 1 and not data:
        raise BadInput("Only with their data can part of the objects be read.", hint="Add --data.", key="data")
    reporter = reporter_for(progress, reporter)
    opened = open_store(store)
    backend = opened.backend
    # Names before manifests: a name is written last, so what it stands for must be there.
    found = [] if sets else list(each(partial(_of_name, backend), list(backend.keys("names/"))))
    named, damages = [n for names_, _ in found for n in names_], [d for _, lost in found for d in lost]
    manifests = [opened.manifest_key(s) for s in sets] or list(opened.set_ids().values())
    damages += _missing(backend, named, set(manifests))
    seals, trials = ([] if sets else list(backend.keys(folder)) for folder in ("unit-seals/", "trials/"))
    wanted: list[_Wanted] = []
    for what, look, keys in (
        ("manifests", partial(_of_set, backend), manifests),
        ("unit seals", partial(_of_unit, backend), seals),
        ("trials", partial(_of_trial, opened), trials),
    ):
        for promised, damage in reporter.track(each(look, keys), f"Reading {what}", len(keys)):
            wanted += promised
            damages += damage

    damages += _damaged_sample_names(opened, manifests, reporter) if data else []
    sizes = {i.key: i.size for folder in ("sets/", "units/", PREDICTIONS) for i in backend.list(folder)}
    read = _drawn(wanted, share, seed) if data else set()
    at_once = within_memory(w.record.size for w in wanted if w.key in read)
    checked = each(lambda w: _check(backend, w, sizes=sizes, data=w.key in read), wanted, at_once)
    damages += [d for d in reporter.track(checked, "Verifying", len(wanted)) if d is not None]
    total = sum(w.record.size for w in wanted)
    hashed = [w.record.size for w in wanted if w.key in read]
    return Verification(len(manifests), len(seals), len(wanted), total, data, tuple(damages), len(hashed), sum(hashed))


def _missing(backend: Backend, named: Sequence[NamedSet], manifests: Container[str]) -> Iterator[Damage]:
    """Yield the manifests that are missing: those of sets that have a name, and were not removed."""
    removed = {r.set for r in removals(backend).values()} if named else set()
    for n in named:
        if n.set in removed:  # it was given to the set as that was removed
            continue
        # A set that was removed meanwhile has taken its names with it.
        if (key := manifest_key(n.encoder, n.set)) not in manifests and not n.below and backend.exists(n.key):
            yield Damage(key, n.set, "missing", f"the manifest of {n.name.dataset}", "no object", key)


def _damaged_sample_names(store: Store, manifests: Sequence[str], reporter: Reporter) -> list[Damage]:
    """Read what the samples of sets are called; return the lists that are not what was written."""
    sealed = {id_in(key): key for key in manifests}
    found = [parts for parts in list_keys(store.backend) if parts.set in sealed]

    def look(parts: ListKey) -> Damage | None:
        try:
            rows = read_manifest(store.backend, sealed[parts.set]).rows
            check_list(store.backend, parts, store.backend.get(parts.key, most_bytes(rows)), rows)
        except NotFound:  # removed since the listing
            return None
        except Corrupt as e:
            if e.key != parts.key:  # the manifest, which is named already
                return None
            return Damage(parts.key, parts.set, "changed", "whole names of samples", e.message, parts.key)
        except Incompatible:
            return None
        return None

    at_once = within_memory(parts.size for parts in found)
    looked = reporter.track(each(look, found, at_once), "Reading names of samples", len(found))
    return [damage for damage in looked if damage is not None]


def _drawn(wanted: Sequence[_Wanted], share: float, seed: int) -> set[str]:
    """Return the keys of a random part of the objects; the same ones for the same store and seed."""
    keys = sorted({w.key for w in wanted})
    return set(keys if share == 1 else random.Random(seed).sample(keys, math.ceil(share * len(keys))))


def _of_name(backend: Backend, key: str) -> tuple[list[NamedSet], list[Damage]]:
    """Return a name, or its damage; nothing of one that was deleted since the listing."""
    try:
        return [read_name(backend, key)], []
    except NotFound:
        return [], []
    except Corrupt as e:
        return [], [Damage(key, id_in(key), "changed", "a whole name", e.message, key)]


def _of_set(backend: Backend, key: str) -> tuple[list[_Wanted], list[Damage]]:
    """Return the objects of a set, or the damage of a manifest that cannot be used."""
    try:
        manifest = read_manifest(backend, key)
    except Corrupt as e:
        return [], [Damage(key, id_in(key), "damaged seal", "a whole manifest", e.message, key)]
    except NotFound:  # removed since the listing
        return [], []
    except Incompatible as e:
        return [], [Damage(key, id_in(key), "unreadable", f"version {e.expected} or older", e.message, key)]
    return [_Wanted(f"{manifest.folder}/{k}", manifest.set, r, key) for k, r in manifest.objects.items()], []


def _of_unit(backend: Backend, key: str) -> tuple[list[_Wanted], list[Damage]]:
    """Return the objects of a unit, or the damage of a seal that cannot be used."""
    try:
        seal = read_unit_seal(backend, key.split("/")[1], id_in(key))
    except Corrupt as e:
        return [], [Damage(key, id_in(key), "damaged seal", "a whole seal", e.message, key)]
    if seal is None:  # deleted since the listing
        return [], []
    return [_Wanted(seal.key(name), seal.unit, r, key) for name, r in seal.objects.items()], []


def _of_trial(store: Store, key: str) -> tuple[list[_Wanted], list[Damage]]:
    """Return what a trial says that its probe said of each row, or the damage of a trial that cannot be used."""
    try:
        trial = store.trial(id_in(key))
    except Corrupt as e:
        return [], [Damage(key, id_in(key), "changed", "a whole trial", e.message, key)]
    record = None if trial is None else record_in(trial)
    if record is None:
        return [], []
    said = ObjectRecord(size=record.size, sha256=record.sha256)
    return [_Wanted(record.key(id_in(key)), id_in(key), said, key)], []


def _check(backend: Backend, wanted: _Wanted, *, sizes: dict[str, int], data: bool) -> Damage | None:
    key, owner, record, seal = wanted
    if key not in sizes:
        missing = Damage(key, owner, "missing", f"{record.size} bytes", "no object", seal)
        return missing if _is_needed(backend, key) else None
    if sizes[key] != record.size:
        return Damage(key, owner, "wrong size", f"{record.size} bytes", f"{sizes[key]} bytes", seal)
    if not data:
        return None
    try:
        found = record_of(backend.get(key, record.size)).sha256
    except (NotFound, Corrupt) as e:
        unreadable = Damage(key, owner, "unreadable", f"{record.size} bytes", e.message, seal)
        return unreadable if _is_needed(backend, key) else None
    except Unavailable as e:
        cause = e.__cause__
        if not isinstance(cause, OSError) or cause.errno != errno.EIO:
            raise  # a right that lacks, a network that is away: nothing is known of the object
        return Damage(key, owner, "unreadable", f"{record.size} bytes", e.message, seal)
    if found != record.sha256:
        return Damage(key, owner, "changed", f"sha256 {record.sha256[:16]}…", f"sha256 {found[:16]}…", seal)
    return None


def _is_needed(backend: Backend, key: str) -> bool:
    """Return whether an object that cannot be read is still needed: a trial may have been removed since the listing."""
    return not key.startswith(PREDICTIONS) or names_predictions(backend, key)
