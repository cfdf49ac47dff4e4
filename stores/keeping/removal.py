"""Removing sets: first what makes them sets, so that readers see a whole set or none; their data go at `gc`.

Order: an announcement (``gc/removed/<set>.<attempt>.json``, which also says which attempts at which units go with the
set), a look for a pin, the names, the manifest. Killed in between, the same command goes on; the announcement alone
removes nothing. It ends with its removal: when the data are gone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...checksummed import dump_document
from ...errors import Conflict, Corrupt, CryoprobeError, NotFound
from ...parallel import each
from ...progress import Reporter
from ...reporting import reporter_for
from ..backends.backend import Backend
from ..feature_set import FeatureSet
from ..format.manifest import Manifest, read_manifest
from ..format.origins import origin_of
from ..format.pins_and_removals import Removal, RemovedTrial, read_pin, removal_key, removals, whoami
from ..format.unit_seal import read_unit_seal
from ..keys import id_in, predictions_folder, sample_names_folder, trial_key, unit_seal_key
from ..opening import open_store
from ..store import Store
from .gc import collect_removed
from .quarantine import set_aside


def rm(
    store: str | Path | Store,
    ids: Sequence[str],
    *,
    now: bool = False,
    progress: bool = True,
    reporter: Reporter | None = None,
) -> list[Removal | RemovedTrial]:
    """Remove sets: their names and their seals at once, their data at the next `gc` after its grace period. Or trials.

    Rows that no other set has are encoded anew when they are needed again. The trials on a removed set stay: they are
    results. A trial is removed at once, and for good: the same `probe` runs it again.

    Parameters
    ----------
    store : str, Path or Store
    ids : sequence of str
        Ids of sets and trials, or their first digits.
    now : bool
        Delete the data at once too. Whoever reads a removed set then finds it damaged; an extractor that reuses its
        rows encodes them.
    progress : bool
        Show a bar if standard error is a terminal, or in a notebook.
    reporter : Reporter, optional
        Is told instead how far it is.

    Returns
    -------
    list of Removal or RemovedTrial
        Sets first.

    Raises
    ------
    NotFound, BadInput
        If there is no such set or trial, or several; then none is removed.
    Conflict
        If a set is pinned, or a set and a trial begin with the same digits; then none is removed.
    ReadOnly, Unavailable

    Guarantees
    ----------
    Readers see a whole set or none. A set that is pinned when this looks is not removed. The same call goes on where
    one was interrupted.
    """
    opened = open_store(store).own
    backend = opened.backend
    sealed, unfinished = opened.set_ids(), {r.set: r for r in removals(backend).values()}
    kinds = {digits: _kind(opened, digits, unfinished) for digits in ids}
    trials = list(dict.fromkeys(opened.trial_id(digits) for digits, kind in kinds.items() if kind == "trial"))
    found = (_full_id(opened, digits, sealed, unfinished) for digits, kind in kinds.items() if kind == "set")
    wanted = list(dict.fromkeys(found))
    for set_ in wanted:
        _check_pin(backend, set_)
    done = [_remove(backend, sealed[s]) if s in sealed else unfinished[s] for s in wanted]
    for trial in trials:
        # The trial first: what it names is nobody's then, and goes at the next gc if this is interrupted.
        for key in [trial_key(trial), *backend.keys(predictions_folder(trial))]:
            backend.delete(key)
    if now and wanted:
        collect_removed(opened, wanted, reporter_for(progress, reporter))
    return [*done, *(RemovedTrial(trial=trial) for trial in trials)]


def _kind(store: Store, digits: str, unfinished: dict[str, Removal]) -> str:
    """Return ``set`` or ``trial``; ``set`` if the removal was interrupted after the manifest was gone, too."""
    try:
        return store.kind_of(digits)
    except NotFound:
        if _begun(digits, unfinished) is None:
            raise
        return "set"


def _full_id(store: Store, digits: str, ids: dict[str, str], unfinished: dict[str, Removal]) -> str:
    """Return the whole id; of a set whose removal was interrupted after its manifest was gone, too."""
    if not any(s.startswith(digits.lower()) for s in ids) and (begun := _begun(digits, unfinished)) is not None:
        return begun
    return id_in(store.manifest_key(digits))


def _begun(digits: str, unfinished: dict[str, Removal]) -> str | None:
    """Return the only set whose removal has begun and whose id begins so."""
    found = [s for s in unfinished if digits and s.startswith(digits.lower())]
    return found[0] if len(found) == 1 else None


def _check_pin(backend: Backend, set_: str) -> None:
    pin = read_pin(backend, set_)
    if pin is not None:
        by = f"{pin.user or '?'}@{pin.host}"
        raise Conflict(
            f"Set {set_[:12]} in {backend.url} is pinned by {by}{f': {pin.why}' if pin.why else ''}.",
            hint=f"If it is not needed any more: cryoprobe pin --remove {set_[:12]} --store {backend.url}",
            key=set_,
        )


def _remove(backend: Backend, key: str) -> Removal:
    """Announce the removal, look for a pin, and remove what makes it a set; as often as it has become another attempt.

    Nobody replaces a manifest but where all of its data are gone. Then it may be pinned, too, before it is deleted.
    """
    set_ = id_in(key)
    while True:
        removal = _announce(backend, key)
        # Names first: a name whose set is missing would be taken for damage.
        _delete_names(backend, set_)
        try:
            if (manifest := _sound_manifest(backend, key)) is not None and manifest.attempt != removal.attempt:
                continue
        except NotFound:
            return removal
        backend.delete(key)
        _delete_names(backend, set_)  # again: whoever gives it one from here on finds that it is gone
        return removal


def _delete_names(backend: Backend, set_: str) -> None:
    """Delete what a set is called, and what its samples are."""
    called = [key for key in backend.keys("names/") if id_in(key) == set_]
    for key in [*called, *backend.keys(sample_names_folder(set_))]:
        backend.delete(key)


def _sound_manifest(backend: Backend, key: str) -> Manifest | None:
    """Return the manifest, or None where it is damaged."""
    with suppress(Corrupt):
        return read_manifest(backend, key)
    return None


def _announce(backend: Backend, key: str) -> Removal:
    """Say that a set is being removed; raise `Conflict` where it is pinned."""
    set_, (user, host) = id_in(key), whoami()
    manifest = _sound_manifest(backend, key)
    if manifest is None:  # which data were the set is not known: all of its attempts are nobody's, and its units stay
        set_aside(backend, key)
    removal = Removal(
        set=set_,
        encoder=key.split("/")[1],
        attempt="" if manifest is None else manifest.attempt,
        units={} if manifest is None else _units_of(backend, manifest),
        user=user,
        host=host,
        removed=time.time_ns() // 1_000_000,
    )
    announcement = removal_key(set_, removal.attempt)
    backend.put(announcement, dump_document(removal.model_dump(mode="json")))
    try:
        _check_pin(backend, set_)  # again: who pins it from here on sees the announcement
    except Conflict:
        backend.delete(announcement)
        raise
    return removal


def _units_of(backend: Backend, manifest: Manifest) -> dict[str, str]:
    """Return the sealed units whose rows are all in a set, and which attempt each is.

    Of a set that is not trusted, none of the store's own units.
    """
    known = set(manifest.units)
    own = origin_of(backend, manifest.key, manifest.checksum) is None
    try:
        rows = {s.tobytes() for s in FeatureSet(backend, manifest).sample_ids()}
    except Corrupt:  # it can be removed all the same, and the units that it names with it
        rows = set()

    def attempt(unit: str) -> str | None:
        with suppress(CryoprobeError):
            seal = read_unit_seal(backend, manifest.encoder_id, unit)
            key = unit_seal_key(manifest.encoder_id, unit)
            if seal is None or not (own or origin_of(backend, key, seal.checksum) is not None):
                return None
            if unit in known or all(s.tobytes() in rows for s in seal.read(backend, "samples")):
                return seal.attempt
        return None

    units = [id_in(info.key) for info in backend.list(f"unit-seals/{manifest.encoder_id}/")]
    return {u: mine for u, mine in zip(units, each(attempt, units), strict=True) if mine is not None}
