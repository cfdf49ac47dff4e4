"""Putting damaged objects right from whole ones, and setting aside what cannot be put right.

Whatever is replaced is first copied to ``quarantine/<12 digits>/<its key>``: nothing is deleted. Whole is what has the
size and sha256 that the seal promises; seals, names and trials vouch for themselves by their checksum.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ...checksummed import dump_document
from ...errors import Corrupt, CryoprobeError, NotFound
from ..backends.backend import Backend
from ..backends.locations import backend_at, layers_at
from ..chunks import ObjectRecord, record_of
from ..format.manifest import Manifest, read_manifest
from ..format.marker import MARKER, check_marker, marker_document, write_marker
from ..format.names import NamedSet
from ..format.origins import Origin, checksum_of, mark
from ..format.predictions import PREDICTIONS, record_in
from ..format.stored_names import find_name, write_name
from ..format.unit_seal import UnitSeal, read_unit_seal
from ..keys import id_in
from ..store import Store
from ..writing.fences import objects_present
from ..writing.sets import documents_of
from .quarantine import set_aside
from .verify import Damage


@dataclass(frozen=True)
class Repair:
    """What was done about one damage.

    Parameters
    ----------
    key, owner, problem : str
        As in `Damage`.
    action : str
        ``restored``: the object is what was sealed again. ``set aside``: it is in quarantine, and nothing refers to it
        any more; what it held is made again when it is needed.
        ``not repaired``.
    how : str
        From where, or why not.
    """

    key: str
    owner: str
    problem: str
    action: str
    how: str


def mend_marker(store: str | Path) -> Repair | None:
    """Write the object anew that says that there is a store, where it is damaged or missing.

    It is the same in every store. That there is one is shown by a manifest that can be read.

    Returns
    -------
    Repair or None
        None where it is whole.

    Raises
    ------
    NotFound, Corrupt
        If nothing there shows that this is a store.
    Incompatible
        If it is one of another version.
    """
    backend = backend_at(layers_at(store)[0])
    try:
        check_marker(backend)
    except (NotFound, Corrupt) as e:
        if not any(_is_sound(backend, key) for key in backend.keys("manifests/")):
            raise
        problem, found = ("missing", "no object") if isinstance(e, NotFound) else ("changed", e.message)
        set_aside(backend, MARKER)
        backend.put(MARKER, marker_document())
        write_marker(backend)  # where the storage is still to be tried out
        return Repair(MARKER, backend.url, problem, "restored", f"it is the same in every store ({found})")
    return None


def _is_sound(backend: Backend, key: str) -> bool:
    with suppress(CryoprobeError):
        read_manifest(backend, key)
        return True
    return False


class Restorer:
    """Finds whole copies of damaged objects: in the store itself, in its manifests, and in another store.

    Parameters
    ----------
    store : Store
    other : Store or None
        Where to look for what this store has no more.
    origin : Origin, optional
        Of what is fetched there, if it is not trusted.
    """

    def __init__(self, store: Store, other: Store | None, origin: Origin | None = None) -> None:
        self._origin = origin
        self._store = store
        self._backend = store.backend
        self._other = other
        self._copies: dict[str, list[str]] | None = None  # sha256 -> keys
        self._there: dict[str, list[str]] = {}
        self._encoders_there: set[str] = set()

    def restore(self, damage: Damage) -> Repair:
        """Put one damage right, if a whole copy can be found."""
        try:
            how = self._restored(damage)
        except CryoprobeError as e:
            return self._done(damage, "not repaired", e.message)
        if how is not None:
            return self._done(damage, "restored", how)
        return self._done(damage, "not repaired", "no whole copy was found")

    def give_up(self, damage: Damage) -> Repair:
        """Set aside what stands in the way and can be made again: units, names, trials. Sets stay as they are.

        So does what a trial says of each row: the trial names it, and is worth more.
        """
        if damage.problem == "unreadable" and damage.key == damage.seal:
            return self._done(damage, "not repaired", "a newer version of Cryoprobe wrote it")
        if damage.seal.startswith("manifests/"):
            return self._done(damage, "not repaired", "no whole copy was found")
        if damage.key.startswith(PREDICTIONS):
            return self._done(damage, "not repaired", "no whole copy was found: probe --rerun makes it again")
        try:
            set_aside(self._backend, damage.seal)
            self._backend.delete(damage.seal)
        except CryoprobeError as e:
            return self._done(damage, "not repaired", e.message)
        again = {
            "unit-seals": "extract encodes its rows again, where no set has them",
            "trials": "probe runs it again",
        }
        return self._done(damage, "set aside", again.get(damage.seal.partition("/")[0], "extract gives it again"))

    def _put_right(self, key: str, record: ObjectRecord, data: bytes) -> None:
        """Replace a damaged object by whole bytes, and set it aside; raise `Corrupt` where they are not those."""
        if record_of(data).sha256 != record.sha256:
            raise Corrupt(f"What was found for {key} is not what was sealed.", key=key)
        set_aside(self._backend, key)
        self._backend.put(key, data)

    def _restored(self, damage: Damage) -> str | None:
        top = damage.key.partition("/")[0]
        if damage.key != damage.seal:
            return self._restore_object(damage)
        restore = {
            "manifests": self._restore_manifest,
            "unit-seals": self._restore_unit_seal,
            "names": self._restore_name,
            "trials": self._restore_trial,
        }.get(top)
        return restore(damage.key) if restore is not None else None

    def _restore_object(self, damage: Damage) -> str | None:
        record, manifest = self._record_of(damage)
        if record is None:
            return None
        if self._read(self._backend, damage.key, record) is not None:
            return "it is whole by now"
        for key in self._copies_here().get(record.sha256, []):
            if key != damage.key and self._read(self._backend, key, record) is not None:
                set_aside(self._backend, damage.key)
                self._backend.copy(key, damage.key)
                return f"from {key}"
        if manifest is not None:
            document = documents_of(manifest).get(damage.key.removeprefix(f"{manifest.folder}/"))
            if document is not None and record_of(document).sha256 == record.sha256:
                self._put_right(damage.key, record, document)
                return "from its manifest"
        for key in self._copies_there(damage, record):
            assert self._other is not None
            data = self._read(self._other.backend, key, record)
            if data is not None:
                self._put_right(damage.key, record, data)
                return f"from {self._other.url}"
        return None

    def _restore_manifest(self, key: str) -> str | None:
        """Fetch a manifest from the other store, and whatever of its objects is not here."""
        if self._other is None:
            return None
        with suppress(Corrupt, NotFound):
            manifest = read_manifest(self._other.backend, key)
            fetched = self._fetch(manifest.folder, manifest.objects)
            set_aside(self._backend, key)
            self._put_seal(key, manifest.dump(), fetched)
            if not objects_present(self._backend, manifest.folder, manifest.object_keys):
                raise Corrupt(f"Objects of {key} were deleted while they were being written.", key=key)
            return f"from {self._other.url}"
        return None

    def _restore_unit_seal(self, key: str) -> str | None:
        if self._other is None:
            return None
        with suppress(Corrupt):
            seal = read_unit_seal(self._other.backend, key.split("/")[1], id_in(key))
            if seal is not None:
                fetched = self._fetch(seal.folder, seal.objects)
                set_aside(self._backend, key)
                self._put_seal(key, seal.dump(), fetched)
                return f"from {self._other.url}"
        return None

    def _put_seal(self, key: str, data: bytes, fetched: bool) -> None:
        """Write a seal; if it is of data that came from the other store, and that is not trusted, say so first."""
        if fetched and self._origin is not None:
            mark(self._backend, key, checksum_of(data, key, self._backend.url), self._origin)
        self._backend.put(key, data)

    def _fetch(self, folder: str, objects: dict[str, ObjectRecord]) -> bool:
        """Bring what a seal of the other store promises and is not here; return whether anything was not.

        Raises
        ------
        Corrupt
            If it is not there.
        """
        assert self._other is not None
        fetched = False
        for relative, record in objects.items():
            key = f"{folder}/{relative}"
            if self._read(self._backend, key, record) is None:
                data = self._read(self._other.backend, key, record)
                if data is None:
                    raise Corrupt(f"{key} in {self._other.url} is damaged too.", key=key)
                self._put_right(key, record, data)
                fetched = True
        return fetched

    def _restore_name(self, key: str) -> str | None:
        """Give a set the name that it was made as, if the damaged name was that one; else fetch it."""
        with suppress(CryoprobeError, ValidationError):
            named = NamedSet.of(self._store.open(id_in(key)).manifest)
            if key == named.key:
                set_aside(self._backend, key)
                write_name(self._backend, named)
                return "from the set's manifest"
        if self._other is None or self._origin is not None:
            return None
        if (there := find_name(self._other.backend, key)) is not None:
            set_aside(self._backend, key)
            write_name(self._backend, there)
            return f"from {self._other.url}"
        return None

    def _restore_trial(self, key: str) -> str | None:
        if self._other is None or self._origin is not None:
            return None
        with suppress(Corrupt):
            trial = self._other.trial(id_in(key))
            if trial is not None:
                set_aside(self._backend, key)
                self._backend.put(key, dump_document(trial))
                return f"from {self._other.url}"
        return None

    def _record_of(self, damage: Damage) -> tuple[ObjectRecord | None, Manifest | None]:
        """Return what the seal says of a damaged object, and the manifest, if that is the seal."""
        if damage.seal.startswith("manifests/"):
            with suppress(NotFound):
                manifest = read_manifest(self._backend, damage.seal)
                return manifest.objects.get(damage.key.removeprefix(f"{manifest.folder}/")), manifest
            return None, None
        if damage.seal.startswith("trials/"):
            trial = self._store.trial(id_in(damage.seal))
            said = None if trial is None else record_in(trial)
            return (None if said is None else ObjectRecord(size=said.size, sha256=said.sha256)), None
        seal = read_unit_seal(self._backend, damage.seal.split("/")[1], id_in(damage.seal))
        return (None if seal is None else seal.objects.get(damage.key.rpartition("/")[2])), None

    def _copies_here(self) -> dict[str, list[str]]:
        if self._copies is None:
            self._copies = {}
            for key, record in _sealed_objects(self._store):
                self._copies.setdefault(record.sha256, []).append(key)
        return self._copies

    def _copies_there(self, damage: Damage, record: ObjectRecord) -> list[str]:
        """Return the keys of the other store under which the object may be: its own, then those of equal hash."""
        if self._other is None:
            return []
        encoder = damage.seal.split("/")[1]
        if encoder not in self._encoders_there:
            self._encoders_there.add(encoder)
            for key, found in _sealed_objects(self._other, encoder):
                self._there.setdefault(found.sha256, []).append(key)
        return [damage.key, *self._there.get(record.sha256, [])]

    @staticmethod
    def _read(backend: Backend, key: str, record: ObjectRecord) -> bytes | None:
        """Return an object if it is whole."""
        with suppress(CryoprobeError):
            data = backend.get(key, record.size)
            if len(data) == record.size and record_of(data).sha256 == record.sha256:
                return data
        return None

    @staticmethod
    def _done(damage: Damage, action: str, how: str) -> Repair:
        return Repair(damage.key, damage.owner, damage.problem, action, how)


def _sealed_objects(store: Store, encoder: str = "") -> Iterator[tuple[str, ObjectRecord]]:
    """Yield the key and record of every object that a whole seal promises, of one encoder or of all."""
    below = f"{encoder}/" if encoder else ""
    for info in list(store.backend.list(f"manifests/{below}")):
        with suppress(CryoprobeError):
            manifest = read_manifest(store.backend, info.key)
            yield from ((f"{manifest.folder}/{key}", record) for key, record in manifest.objects.items())
    for info in list(store.backend.list(f"unit-seals/{below}")):
        seal: UnitSeal | None = None
        with suppress(CryoprobeError):
            seal = read_unit_seal(store.backend, info.key.split("/")[1], id_in(info.key))
        if seal is not None:
            yield from ((seal.key(name), record) for name, record in seal.objects.items())
