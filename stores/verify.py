"""Verification: every object of every sealed set is held against what its manifest says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..errors import Corrupt, Incompatible, NotFound, Unavailable
from . import layout, names
from .backend import Backend
from .chunks import ObjectRecord, record_of
from .manifest import read_manifest
from .store import Store, open_store
from .units import read_seal

_READERS = 8


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
    """

    key: str
    owner: str
    problem: str
    expected: str
    found: str


@dataclass(frozen=True)
class Verification:
    """What a verification looked at, and what it found."""

    sets: int
    units: int
    objects: int
    bytes: int
    data: bool
    damages: tuple[Damage, ...]


def verify(
    store: str | Path | Store,
    sets: Sequence[str] = (),
    *,
    data: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Check sets, and the units that future extractions would reuse.

    Parameters
    ----------
    store : str, Path or Store
    sets : sequence of str
        Ids of sets, or their first digits; with none, every set and every unit of the store.
    data : bool
        Read and hash every object. Otherwise manifests are read, and presence and sizes are compared by listing,
        which finds neither flipped bits nor swapped chunks.
    progress : callable, optional
        Called with (objects done, objects in all).

    Returns
    -------
    Verification
    """
    opened = store if isinstance(store, Store) else open_store(store)
    backend = opened.backend
    damages: list[Damage] = []
    wanted: list[tuple[str, str, ObjectRecord]] = []  # key, owner, record
    found = [] if sets else list(names.read_all(backend))  # before the manifests, which are written before them
    manifests = [opened.manifest_key(s) for s in sets] or list(opened.set_ids().values())
    for key in manifests:
        try:
            manifest = read_manifest(backend, key)
        except Corrupt as e:
            damages.append(Damage(key, layout.stem(key), "damaged seal", "a whole manifest", e.message))
            continue
        except Incompatible as e:
            damages.append(Damage(key, layout.stem(key), "unreadable", f"version {e.expected} or older", e.message))
            continue
        wanted += [(f"{manifest.folder}/{k}", manifest.set, r) for k, r in manifest.objects.items()]
    for named in found:
        key = layout.manifest_key(named.encoder, named.set)
        if key not in manifests:
            damages.append(Damage(key, named.set, "missing", f"the manifest of {named.name.dataset}", "no object"))
    seals = [] if sets else [i.key for i in backend.list("unit-seals/")]
    for key in seals:
        encoder_id = key.split("/")[1]
        try:
            seal = read_seal(backend, encoder_id, layout.stem(key))
        except Corrupt as e:
            damages.append(Damage(key, layout.stem(key), "damaged seal", "a whole seal", e.message))
            continue
        if seal is not None:  # else it was deleted since the listing
            wanted += [(seal.key(name), seal.unit, r) for name, r in seal.objects.items()]

    sizes = {i.key: i.size for folder in ("sets/", "units/") for i in backend.list(folder)}
    done = 0
    with ThreadPoolExecutor(_READERS, thread_name_prefix="cryoprobe-verify") as pool:
        for damage in pool.map(lambda w: _check(backend, *w, sizes=sizes, data=data), wanted):
            done += 1
            if progress is not None:
                progress(done, len(wanted))
            if damage is not None:
                damages.append(damage)
    total = sum(r.size for _, _, r in wanted)
    return Verification(len(manifests), len(seals), len(wanted), total, data, tuple(damages))


def _check(
    backend: Backend, key: str, owner: str, record: ObjectRecord, *, sizes: dict[str, int], data: bool
) -> Damage | None:
    if key not in sizes:
        return Damage(key, owner, "missing", f"{record.size} bytes", "no object")
    if sizes[key] != record.size:
        return Damage(key, owner, "wrong size", f"{record.size} bytes", f"{sizes[key]} bytes")
    if not data:
        return None
    try:
        found = record_of(backend.get(key)).sha256
    except (NotFound, Unavailable) as e:
        return Damage(key, owner, "unreadable", f"{record.size} bytes", e.message)
    if found != record.sha256:
        return Damage(key, owner, "changed", f"sha256 {record.sha256[:16]}…", f"sha256 {found[:16]}…")
    return None
