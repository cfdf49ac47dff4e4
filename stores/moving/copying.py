"""Carrying out a transfer: object by object, then the seal, then the name.

Each object is compared with the seal before it is written, and the seal is written when all are there. So whatever
interrupts a transfer leaves nothing half readable, and the same transfer again sends what is missing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from ...checksummed import LARGE
from ...errors import Corrupt, NotFound, Unavailable
from ...parallel import each, run_each, within_memory
from ...progress import Reporter
from ..backends.backend import Backend
from ..chunks import ObjectRecord, check_object, corrupt
from ..format.documents import parse_json
from ..format.manifest import Manifest
from ..format.origins import checksum_of, mark, marked, origin_of, trust
from ..format.predictions import read_bytes, record_in
from ..format.sample_names import ListKey, Lists, check_list, kept, most_bytes
from ..keys import id_in
from ..store import Store
from ..writing import fences
from .transfer_plan import (
    SealedItem,
    TargetState,
    TransferItem,
    TransferPlan,
    lacking,
    seal_there,
    target_state,
    trial_on,
)

Outcome = Literal["moved", "completed", "there", "adopted"]

_FEW = 32
"""Objects up to which several sets or units are carried side by side, rather than the objects of one."""

_ROUNDS = 3
_FENCED_SECONDS, _PAUSE_SECONDS = 60.0, 0.2
"""How often objects that vanish while a set is sealed are sent again."""

UNDONE = "Whatever else was asked for has been moved, and nothing of this can be read at the target."


@dataclass(frozen=True)
class MovedSet:
    """What became of one set.

    Parameters
    ----------
    set : str
        Its id.
    outcome : {"moved", "completed", "there", "adopted"}
        Sealed at the target by this transfer; sealed there before, but objects were missing, which were added; there
        before; or there before of another attempt, which stays (unless all of its objects are gone).
    objects, bytes : int
        What has travelled.
    """

    set: str
    outcome: Outcome
    objects: int
    bytes: int


@dataclass(frozen=True)
class Moved:
    """What a transfer did; or, of a dry run, what it would have done.

    Parameters
    ----------
    source, target : str
        Where from, where to.
    dry_run : bool
    sets : tuple of MovedSet
    units, names, trials : int
        How many the target has got. (Units of which it lacked objects.)
    objects, bytes : int
        Of sets and units.
    trusted : bool
        Whether what came counts as the target's own.
    remedy : str or None
        The command that makes it so, if not.
    sample_names : int
        How many lists of what samples are called the target has got.
    predictions : int
        How many trials that the target had have got what their probes said of each row, which was lost there.
    notes : tuple of str
        What else is worth knowing.
    """

    source: str
    target: str
    dry_run: bool
    sets: tuple[MovedSet, ...]
    units: int
    names: int
    trials: int
    objects: int
    bytes: int
    trusted: bool = True
    remedy: str | None = None
    sample_names: int = 0
    predictions: int = 0
    notes: tuple[str, ...] = ()


class TransferRun:
    """Carries out one plan; with `link`, objects share their bytes with the source's where the storage can do that."""

    def __init__(
        self, source: Backend, target: Store, plan: TransferPlan, reporter: Reporter, *, link: bool = False
    ) -> None:
        self._source = source
        self._store = target
        self._target = target.backend
        self._plan = plan
        self._reporter = reporter
        self._link = link
        self._lock = threading.Lock()
        self._refused = list(plan.refused)
        # Chunks of sets are often whole units: what has arrived as one need not travel again as the other.
        self._twins: dict[str, str] = {}
        self._objects: Counter[str] = Counter()  # by the id of the set or unit
        self._bytes: Counter[str] = Counter()
        self._at_once = within_memory(
            r.size for item in (*plan.units, *plan.sets) for r in item.sealed.objects.values()
        )

    def run(self) -> Moved:
        """Move everything, and raise `Corrupt` at the end if anything was refused."""
        with self._reporter.task("Moving", self._plan.bytes, "bytes"):
            units = self._move_all(self._plan.units)
            for item in self._plan.units:
                if units.get(item.sealed.id) in ("moved", "completed", "there"):
                    self._twins |= {record.sha256: key for key, record in item.sealed.objects.items()}
            sets = self._move_all(self._plan.sets)
        names = {key: data for key, data in self._plan.names.items() if id_in(key) in sets}
        run_each(lambda key: self._put(key, names[key]), names)
        lists = [k for k in self._plan.sample_names if k.set in sets]
        called = sum(each(self._move_sample_names, lists, within_memory(k.size for k in lists)))
        known = {*sets, *self._store.set_ids()} if self._plan.trials else set()
        meant = known if self._plan.everything else sets.keys()
        few = within_memory([self._plan.largest])
        trials = sum(each(partial(self._move_trial, known, meant), self._plan.trials, few))
        predictions = sum(each(self._complete_trial, self._plan.predictions, few))
        self._settle(sets, units, {*sets, *self._store.set_ids()})
        raise_refused(self._refused)
        return Moved(
            self._source.url,
            self._target.url,
            False,
            tuple(MovedSet(s, outcome, self._objects[s], self._bytes[s]) for s, outcome in sets.items()),
            sum(outcome in ("moved", "completed") for outcome in units.values()),
            len(names),
            trials,
            self._objects.total(),
            self._bytes.total(),
            *trusted_or_how(self._plan, self._target.url),
            called,
            predictions,
        )

    def _put(self, key: str, data: bytes) -> bool:
        """Write a name or trial; return whether it is there now. What is not trusted replaces nothing."""
        checksum = checksum_of(data, key, self._source.url)
        origin = self._plan.terms.origin_of(key, checksum)
        if origin is None:
            self._target.put(key, data)
            return True
        if self._target.exists(key):
            return False
        mark(self._target, key, checksum, origin)  # first: it is never there as if it were the store's own
        return self._target.put_if_absent(key, data)

    def _move_sample_names(self, parts: ListKey) -> bool:
        """Copy what the samples of a set are called, if it is whole; return whether the target has it now."""
        there = next(s.sealed for s in self._plan.sets if s.sealed.id == parts.set)
        sealed = seal_there(self._target, there)
        origin = self._plan.terms.origin_of(parts.key, parts.sha256)
        lists = Lists(self._target, parts.set)
        if not isinstance(sealed, Manifest) or not lists.lacks(parts, sealed, own=origin is None):
            return False
        try:
            data = self._source.get(parts.key, most_bytes(sealed.rows))
            check_list(self._source, parts, data, sealed.rows)
        except NotFound:  # removed since the listing
            return False
        except Corrupt as e:
            with self._lock:
                self._refused.append(e)
            return False
        if origin is None:
            return lists.replace(parts, data, there.key)
        mark(self._target, parts.key, parts.sha256, origin)  # first: it is never there as if it were the store's own
        return self._target.put_if_absent(parts.key, data) and kept(self._target, parts.key, there.key)

    def _settle(self, sets: Mapping[str, Outcome], units: Mapping[str, Outcome], known: set[str]) -> None:
        """Trust what the target had before as not trusted, if it is what arrives; record where sets came from."""
        terms = self._plan.terms
        if not terms.origin.trusted:
            return
        for item in self._plan.sets:
            sealed = item.sealed
            if sets.get(sealed.id) == "moved" and terms.origin_of(sealed.key, sealed.checksum) is None:
                mark(self._target, sealed.key, sealed.checksum, terms.origin)
        meant = known if self._plan.everything else sets.keys()
        seals = {item.sealed.key: item.sealed.checksum for item in (*self._plan.sets, *self._plan.units)}
        for key, digits in marked(self._target):
            kind, about = key.partition("/")[0], id_in(key)
            if kind in ("manifests", "unit-seals"):
                checksum = seals.get(key, "") if about in sets or about in units else ""
            elif about in sets or (kind == "trials" and trial_on(self._source, key, known, meant) is not None):
                checksum = _checksum_in(self._source, key)
            else:
                continue
            if checksum.startswith(digits) and terms.origin_of(key, checksum) is None:
                trust(self._target, key, checksum)

    def _move_all(self, items: Iterable[TransferItem]) -> dict[str, Outcome]:
        """Move sets or units; return what became of each that is at the target now."""
        small = [item for item in items if len(item.sealed.objects) <= _FEW]
        large = [item for item in items if len(item.sealed.objects) > _FEW]
        done = list(each(lambda item: self._move_or_refuse(item, 1), small, self._at_once))
        done += [self._move_or_refuse(item, self._at_once) for item in large]
        outcomes = zip((item.sealed.id for item in (*small, *large)), done, strict=True)
        return {id_: outcome for id_, outcome in outcomes if outcome is not None}

    def _move_or_refuse(self, item: TransferItem, at_once: int) -> Outcome | None:
        try:
            return self._move(item, at_once)
        except Corrupt as e:
            with self._lock:
                self._refused.append(e)
            return None

    def _move(self, item: TransferItem, at_once: int) -> Outcome:
        sealed = item.sealed
        outcome = foreseen(item)
        if outcome in ("there", "adopted"):
            return outcome
        origin = self._plan.terms.origin_of(sealed.key, sealed.checksum)
        if origin is not None and outcome == "moved":  # before it can be read
            mark(self._target, sealed.key, sealed.checksum, origin)
        wanted = item.lacking
        if outcome == "moved":
            wanted += self._damaged_remains(item, at_once)
        sent = wanted
        for _ in range(_ROUNDS):
            run_each(partial(self._copy_object, sealed), wanted, at_once)
            # As with any seal, what can be read back counts, whatever the answer to the write was.
            now = self._seal(sealed)
            if now == "other":
                there = seal_there(self._target, sealed)
                for key in sent if there is None or there.folder != sealed.folder.rstrip("/") else ():
                    self._target.delete(key)
                return "adopted"
            # Whoever tidied up just before the seal was there took our objects for nobody's.
            wanted = self._lacking_for_good(sealed)
            if now == "sealed" and not wanted:
                return outcome
        raise Unavailable(
            f"{sealed.key} or its data was deleted from {self._target.url} while it was being written.",
            hint="Stop whoever deletes objects of this store, then run the same command again.",
            key=sealed.key,
        )

    def _seal(self, sealed: SealedItem) -> TargetState:
        """Seal what has been sent, unless it is sealed; return how it stands then."""
        if not self._target.put_if_absent(sealed.key, sealed.seal) and self._state(sealed) == "replaceable":
            self._target.put(sealed.key, sealed.seal)
        return self._state(sealed)

    def _state(self, sealed: SealedItem) -> TargetState:
        return target_state(self._target, sealed, self._plan.terms)

    def _lacking_for_good(self, sealed: SealedItem) -> tuple[str, ...]:
        """Return the objects that are not there, once no gc run may be deleting them; see `fences`."""
        deadline = time.monotonic() + _FENCED_SECONDS
        folder, seal = sealed.folder.rstrip("/"), sealed.key

        def is_sealed() -> bool:
            return self._state(sealed) == "sealed"

        while not fences.objects_present(self._target, folder, sealed.objects, seal=seal, is_sealed=is_sealed):
            if wanted := lacking(self._target, sealed):
                return wanted
            if not is_sealed():  # gc has deleted the seal of a unit, which it had found useless before it came
                return tuple(sealed.objects)
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"A gc run at work in {self._target.url} may delete {sealed.kind} {sealed.id}.",
                    hint="Run the same command again when it is done.",
                    key=sealed.key,
                )
            time.sleep(_PAUSE_SECONDS)
        return ()

    def _damaged_remains(self, item: TransferItem, at_once: int) -> tuple[str, ...]:
        """Return the objects of an interrupted transfer that are not whole, where looking costs little."""
        if not self._target.near:
            return ()  # they were compared before they were sent, and are there whole or not at all
        remains = [key for key in item.sealed.objects if key not in item.lacking]
        whole = each(lambda key: self._bytes_match(key, item.sealed.objects[key]), remains, at_once)
        return tuple(key for key, good in zip(remains, whole, strict=True) if not good)

    def _copy_object(self, sealed: SealedItem, key: str) -> None:
        record = sealed.objects[key]
        twin = self._twins.get(record.sha256)
        if twin is not None and self._bytes_match(twin, record):
            self._target.copy(twin, key)
        else:
            try:
                data = self._source.get(key, record.size)
            except NotFound:
                raise corrupt(key, self._source.url, "is missing", f"{record.size} bytes", "no object") from None
            check_object(data, record, key=key, url=self._source.url)
            if not self._target.copy_from(self._source, key, link=self._link):
                self._target.put(key, data)
        with self._lock:
            self._objects[sealed.id] += 1
            self._bytes[sealed.id] += record.size
            self._reporter.advance(record.size)

    def _bytes_match(self, key: str, record: ObjectRecord) -> bool:
        try:
            check_object(self._target.get(key, record.size), record, key=key, url=self._target.url)
        except (Corrupt, NotFound):
            return False
        return True

    def _move_trial(self, known: set[str], moved: Container[str], key: str) -> bool:
        data = trial_on(self._source, key, known, moved)
        if data is None:
            return False
        checksum, there = checksum_of(data, key, self._source.url), _checksum_in(self._target, key)
        if self._plan.terms.origin_of(key, checksum) is None:
            if there and origin_of(self._target, key, there) is None:
                return False
            mark(self._target, key, checksum, self._plan.terms.origin)
        self._copy_predictions(key, data)
        return self._put(key, data)

    def _complete_trial(self, key: str) -> bool:
        """Copy what a trial of the target says of each row; return whether the target has it now."""
        try:
            return self._copy_predictions(key, self._target.get(key, LARGE))
        except NotFound:  # removed since the comparison
            return False

    def _copy_predictions(self, key: str, trial: bytes) -> bool:
        """Copy what a trial says of each row, before the trial: it vouches for that by hash."""
        content = parse_json(trial, key, self._source.url)
        record = record_in(content)
        if record is None:
            return False
        try:
            self._target.put(record.key(id_in(key)), read_bytes(self._source, id_in(key), record))
        except NotFound:  # removed: the trial is worth more
            return False
        except Corrupt as e:
            with self._lock:
                self._refused.append(e)
            return False
        return True


def _checksum_in(backend: Backend, key: str) -> str:
    """Return the checksum of a name or trial of a store; empty if there is none."""
    try:
        return checksum_of(backend.get(key, LARGE), key, backend.url)
    except (NotFound, Corrupt):
        return ""


def raise_refused(refused: Sequence[Corrupt]) -> None:
    """Raise what was wrong with the first of the sets or units that were refused."""
    if not refused:
        return
    first, others = refused[0], len(refused) - 1
    more = f"\n{others} more were refused." if others else ""
    raise Corrupt(
        f"{first.message}{more}\n{UNDONE}",
        hint=first.hint,
        key=first.key,
        expected=first.expected,
        found=first.found,
    )


def trusted_or_how(plan: TransferPlan, target: str) -> tuple[bool, str | None]:
    """Return whether what arrives counts as the target's own, and the command that makes it so."""
    origin = plan.terms.origin
    return origin.trusted, None if origin.trusted else origin.remedy(target)


def foreseen(item: TransferItem) -> Outcome:
    """Return what becomes of a set or unit if nobody interferes."""
    if item.state in ("absent", "replaceable"):
        return "moved"
    if item.state == "other":
        return "adopted"
    return "completed" if item.lacking else "there"


def foretold(source: Store, target: Store, plan: TransferPlan) -> Moved:
    """Return what a plan would do; raise `Corrupt` if a seal of what is meant is damaged."""
    raise_refused(plan.refused)
    return Moved(
        source.url,
        target.url,
        True,
        tuple(MovedSet(f.sealed.id, foreseen(f), len(f.lacking), f.bytes) for f in plan.sets),
        sum(foreseen(f) in ("moved", "completed") for f in plan.units),
        len(plan.names),
        len(plan.trials),
        sum(len(f.lacking) for f in (*plan.units, *plan.sets)),
        plan.bytes,
        *trusted_or_how(plan, target.url),
        len(plan.sample_names),
        len(plan.predictions),
    )
