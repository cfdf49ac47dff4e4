"""What would travel from one store to another: which sets are meant, what belongs to them, and what the target lacks.

Nothing is written here. Seals, names and trials are kept as the bytes that the source has, so that they arrive as they
were written, whatever else a later version has put into them. `Terms` say whether what arrives counts as
the target's own.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

from ...checksummed import LARGE
from ...errors import Corrupt, NotFound
from ...parallel import each
from ..backends.backend import Backend, ObjectInfo
from ..backends.memory import MemoryBackend
from ..chunks import ObjectRecord, corrupt
from ..format.documents import SMALL, parse_json, read_json
from ..format.manifest import Manifest, find_manifest, read_manifest
from ..format.names import is_future
from ..format.origins import Marks, Origin, marked, origin_of
from ..format.predictions import PREDICTIONS, record_in
from ..format.sample_names import SAMPLE_NAMES, ListKey, Lists
from ..format.stored_names import find_name
from ..format.trials import is_trial
from ..format.unit_seal import UnitSeal, read_unit_seal
from ..keys import id_in, trial_key
from ..store import Store
from ..writing.fences import has_no_data

TargetState = Literal["absent", "replaceable", "sealed", "other"]
"""What the target has of a set or unit: no seal; a seal of another attempt that is written over, since it has no data
left or is not trusted; the same attempt; or another attempt, which stays."""

_KINDS = ("manifests/", "unit-seals/", "names/", SAMPLE_NAMES, "trials/")

_ATTEMPT = re.compile(r"[0-9a-f]{12}")


class Choice(NamedTuple):
    """Which sets are meant: those of `sets`, if any are given, that also fit the patterns.

    Parameters
    ----------
    sets : sequence of str
        Ids, or first digits that no other set of the store has.
    model, dataset : str, optional
        Names as `ls` shows them, or patterns with ``*``, ``?`` and ``[…]``.
    """

    sets: Sequence[str] = ()
    model: str | None = None
    dataset: str | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing was chosen."""
        return not self.sets and self.model is None and self.dataset is None

    def __str__(self) -> str:
        words = [*self.sets, *(f"--{k} {v}" for k, v in (("model", self.model), ("dataset", self.dataset)) if v)]
        return " ".join(words)


class Terms:
    """As what things of a source arrive at a target: as its own, or with an origin that is not trusted.

    Parameters
    ----------
    source : Backend
    origin : Origin
        Where the source is, and whether it is trusted. What the source itself does not trust is trusted by nobody.
    """

    def __init__(self, source: Backend, origin: Origin) -> None:
        self.origin = origin
        self._marks = [Marks(source, prefix) for prefix in _KINDS] if origin.trusted else []

    def origin_of(self, key: str, checksum: str) -> Origin | None:
        """Return the origin with which an object arrives that is not trusted; None for what counts as own."""
        if not self.origin.trusted:
            return self.origin
        found = (marks.of(key, checksum) for marks in self._marks)
        there = next((origin for origin in found if origin is not None), None)
        if there is None:
            return None
        return self.origin.model_copy(update={"place": f"{self.origin.place} (from {there.place})", "trusted": False})


@dataclass(frozen=True)
class SealedItem:
    """A sealed set or unit of the source.

    Parameters
    ----------
    kind : {"set", "unit"}
    id, attempt : str
    key : str
        Of its seal: a manifest or a unit seal.
    seal : bytes
        The seal, as it stands in the source.
    folder : str
        In which all its objects are; ends with ``/``.
    objects : mapping of str to ObjectRecord
        By their keys in the store.
    checksum : str
        Of the seal.
    """

    kind: Literal["set", "unit"]
    id: str
    attempt: str
    key: str
    seal: bytes
    folder: str
    objects: Mapping[str, ObjectRecord]
    checksum: str


class TransferItem(NamedTuple):
    """A set or unit, and what the target has of it."""

    sealed: SealedItem
    state: TargetState
    lacking: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes that the target lacks."""
        return sum(self.sealed.objects[key].size for key in self.lacking)


@dataclass(frozen=True)
class TransferPlan:
    """Everything that is to travel, and the sets that cannot, with the reason.

    Parameters
    ----------
    units, sets : tuple of TransferItem
    names : dict of str to bytes
        Keys and contents of names that the target lacks, or has with an earlier date.
    sample_names : tuple of ListKey
        Lists of what samples are called that count in the source, and would in the target.
    trials : tuple of str
        Keys of trials that the target lacks.
    predictions : tuple of str
        Keys of trials that the target has, without the object that they say has what was said of each row.
    largest : int
        Bytes of the largest such object of the source.
    everything : bool
        Whether they may be on any sets that the target has then.
    terms : Terms
        As what everything arrives.
    refused : tuple of Corrupt
        One for each seal that is damaged.
    """

    units: tuple[TransferItem, ...]
    sets: tuple[TransferItem, ...]
    names: Mapping[str, bytes]
    sample_names: tuple[ListKey, ...]
    trials: tuple[str, ...]
    predictions: tuple[str, ...]
    largest: int
    everything: bool
    terms: Terms
    refused: tuple[Corrupt, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all objects that are to travel."""
        return sum(item.bytes for item in (*self.units, *self.sets))


def chosen(store: Store, choice: Choice) -> dict[str, str]:
    """Return the ids of the sets that are meant, with the keys of their manifests.

    Raises
    ------
    NotFound
        If an id has no set, or nothing fits.
    BadInput
        If the first digits of an id are those of several.
    """
    sealed = store.set_ids()
    if choice.sets:
        keys = [store.manifest_key(s) for s in choice.sets]
        sealed = {id_in(key): key for key in keys}
    if choice.model is not None or choice.dataset is not None:
        fitting = {n.set for n in store.ls(model=choice.model, dataset=choice.dataset)}
        sealed = {s: key for s, key in sealed.items() if s in fitting}
        if not sealed:
            raise NotFound(
                f"No set of {store.url} fits {choice}.",
                hint=f"Patterns are matched with whole names ('*/photos'); list them: cryoprobe ls --store {store.url}",
                key=str(choice),
            )
    return sealed


def plan_transfer(
    source: Store,
    target: Store,
    sets: Mapping[str, str],
    *,
    origin: Origin,
    trials: bool,
    units: bool,
    everything: bool = False,
) -> TransferPlan:
    """Compare two stores.

    Parameters
    ----------
    source, target : Store
    sets : mapping
        As `chosen` returned them.
    origin : Origin
        Where the source is, and whether it is trusted.
    trials, units : bool
        Whether trials on these sets, and all units of their encoders, are to travel too.
    everything : bool
        Whether those on any sets that the target has are meant too.
    """
    encoders = sorted({key.split("/")[1] for key in sets.values()}) if units else []
    seals = [info.key for encoder in encoders for info in source.backend.list(f"unit-seals/{encoder}/")]
    refused: list[Corrupt] = []
    terms = Terms(source.backend, origin)
    items: dict[str, list[TransferItem]] = {"unit": [], "set": []}
    for found in each(partial(_compare, source.backend, target.backend, terms), [*seals, *sets.values()]):
        if isinstance(found, Corrupt):
            refused.append(found)
        else:
            items[found.sealed.kind].append(found)
    arriving = {item.sealed.id for item in items["set"]}
    known = {*arriving, *target.set_ids()} if trials else set()
    meant = known if everything else arriving
    said = {info.key: info.size for info in source.backend.list(PREDICTIONS)} if trials else {}
    return TransferPlan(
        units=tuple(items["unit"]),
        sets=tuple(items["set"]),
        names=_names(source.backend, target.backend, arriving, terms),
        sample_names=_sample_names(source.backend, target.backend, items["set"], terms),
        trials=_trials(source.backend, target.backend, known, meant, terms) if trials else (),
        predictions=_lost(source.backend, target.backend, said, known, meant) if trials else (),
        largest=max(said.values(), default=0),
        everything=everything,
        terms=terms,
        refused=tuple(refused),
    )


def lacking(backend: Backend, sealed: SealedItem) -> tuple[str, ...]:
    """Return the keys of the objects that are not there, or not in their size, by one listing."""
    sizes = {info.key: info.size for info in backend.list(sealed.folder)}
    return tuple(key for key, record in sealed.objects.items() if sizes.get(key) != record.size)


def target_state(backend: Backend, sealed: SealedItem, terms: Terms) -> TargetState:
    """Say how a store has a set or unit; raise `Corrupt` where its seal there is damaged.

    A seal that is not trusted is replaceable if the one that arrives is trusted.
    """
    found = seal_there(backend, sealed)
    if found is None:
        return "absent"
    folder = sealed.folder.rstrip("/")
    own = terms.origin_of(sealed.key, sealed.checksum) is None
    if own and found.checksum != sealed.checksum and origin_of(backend, sealed.key, found.checksum) is not None:
        return "replaceable"
    # A stranger can give what they made the name of an attempt of ours: then it is another one all the same.
    if found.folder == folder and _records(found) == sealed.objects:
        return "sealed"
    return "replaceable" if found.folder != folder and has_no_data(backend, found.folder) else "other"


def seal_there(backend: Backend, sealed: SealedItem) -> Manifest | UnitSeal | None:
    """Return the seal that a store has of a set or unit."""
    encoder = sealed.key.split("/")[1]
    if sealed.kind == "set":
        return find_manifest(backend, encoder, sealed.id)
    return read_unit_seal(backend, encoder, sealed.id)


def _records(seal: Manifest | UnitSeal) -> dict[str, ObjectRecord]:
    return {f"{seal.folder}/{name}": record for name, record in seal.objects.items()}


def read_item(backend: Backend, key: str) -> SealedItem:
    """Read a manifest or unit seal that is to be sealed elsewhere, and check that a reader there could do with it.

    Raises
    ------
    Corrupt
        If it is damaged or missing, or does not name every chunk in its size.
    Incompatible
        If a newer version wrote it.
    """
    held = _held(backend, key)
    encoder, id_ = key.split("/")[1], id_in(key)
    if key.startswith("manifests/"):
        manifest = read_manifest(held, key)
        return _sealable(held, "set", manifest, key)
    seal = read_unit_seal(held, encoder, id_)
    assert seal is not None
    return _sealable(held, "unit", seal, key)


def trial_on(backend: Backend, key: str, known: Container[str], moved: Container[str]) -> bytes | None:
    """Return a trial as it is stored; None where it is damaged, or about other sets.

    Parameters
    ----------
    backend : Backend
    key : str
    known : container of str
        Set ids: all of the trial's must be among them.
    moved : container of str
        Set ids: one of the trial's must be among them.
    """
    with suppress(Corrupt):
        held = _held(backend, key)
        trial = read_json(held, key, LARGE)
        if is_trial(trial, key):
            parts = [s for s in (trial.get(part) for part in ("train", "test", "val")) if isinstance(s, str)]
            sets = [s for part in parts for s in part.split("+")]  # of several taps read as one
            if all(s in known for s in sets) and any(s in moved for s in sets):
                return held.get(key)
    return None


def _compare(source: Backend, target: Backend, terms: Terms, key: str) -> TransferItem | Corrupt:
    try:
        sealed = read_item(source, key)
    except Corrupt as e:
        return e
    there = target_state(target, sealed, terms)
    if there == "replaceable":  # what a seal that is replaced left may lie where this one's data go
        return TransferItem(sealed, there, tuple(sealed.objects))
    return TransferItem(sealed, there, () if there == "other" else lacking(target, sealed))


def _held(backend: Backend, key: str, limit: int = LARGE) -> MemoryBackend:
    """Return storage that holds one object of `backend`, as it is now: to be parsed, and passed on byte for byte."""
    held = MemoryBackend()
    held.url = backend.url
    try:
        held.put(key, backend.get(key, limit))
    except NotFound:
        raise corrupt(key, backend.url, "is missing", "what was listed a moment ago", "no object") from None
    return held


def _sealable(held: Backend, kind: Literal["set", "unit"], found: Manifest | UnitSeal, key: str) -> SealedItem:
    """Return what a seal says, unless sealing that elsewhere would make something that cannot be read."""
    if not _ATTEMPT.fullmatch(found.attempt):
        raise Corrupt(
            f"The seal {key} in {held.url} is damaged: its attempt is not 12 hexadecimal digits.",
            hint="Restore it from a copy of the store, or delete it and run extract again.",
            key=key,
        )
    folder = f"{found.folder}/"
    return SealedItem(kind, id_in(key), found.attempt, key, held.get(key), folder, _records(found), found.checksum)


def _names(source: Backend, target: Backend, sets: Container[str], terms: Terms) -> dict[str, bytes]:
    """Return the names of sets that the target lacks, or has with an earlier date, or (if they are) not as trusted."""
    there = {info.key for info in target.list("names/")}
    marks = Marks(target, "names/")

    def newer(info: ObjectInfo) -> tuple[str, bytes] | None:
        with suppress(Corrupt):
            held = _held(source, info.key, SMALL)
            named = find_name(held, info.key)
            if named is not None and named.set == id_in(info.key):
                known = find_name(target, info.key) if info.key in there else None
                own = terms.origin_of(info.key, named.checksum) is None
                newer = known is None or (
                    own
                    and (
                        (known.named < named.named and not is_future(named.named))
                        or marks.of(info.key, known.checksum) is not None
                    )
                )
                if newer:
                    return info.key, held.get(info.key)
        return None

    found = each(newer, (info for info in source.list("names/") if id_in(info.key) in sets))
    return dict(name for name in found if name is not None)


def _sample_names(source: Backend, target: Backend, sets: Sequence[TransferItem], terms: Terms) -> tuple[ListKey, ...]:
    """Return the lists of what samples are called that would count in the target."""
    theirs, ours = Lists(source), Lists(target)
    found = []
    for sealed in (item.sealed for item in sets):
        parts = theirs.counting(sealed.id, sealed.key, sealed.checksum)
        if parts is not None:
            own = terms.origin_of(parts.key, parts.sha256) is None
            there = None if own else find_manifest(target, sealed.key.split("/")[1], sealed.id)
            if ours.lacks(parts, there, own=own):
                found.append(parts)
    return tuple(found)


def _trials(
    source: Backend, target: Backend, known: Container[str], meant: Container[str], terms: Terms
) -> tuple[str, ...]:
    there = {info.key for info in target.list("trials/")}
    if terms.origin.trusted:  # what is there and not trusted may be replaced
        there -= {key for key, _ in marked(target, "trials/")}
    keys = [info.key for info in source.list("trials/") if info.key not in there]
    found = each(lambda key: trial_on(source, key, known, meant) is not None, keys)
    return tuple(key for key, travels in zip(keys, found, strict=True) if travels)


def _lost(
    source: Backend, target: Backend, said: Iterable[str], known: Container[str], meant: Container[str]
) -> tuple[str, ...]:
    """Return the trials of the target that name what the source has of them, in `said`, and the target lacks."""
    lacking = set(said) - set(target.keys(PREDICTIONS)) if said else set()
    there = set(target.keys("trials/")) if lacking else set()

    def names(key: str) -> str | None:
        trial = trial_key(key.split("/")[1])
        data = trial_on(target, trial, known, meant) if trial in there else None
        record = None if data is None else record_in(parse_json(data, trial, target.url))
        return trial if record is not None and record.key(id_in(trial)) == key else None

    return tuple(trial for trial in each(names, sorted(lacking)) if trial is not None)
