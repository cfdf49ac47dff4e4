"""Where a store's things came from, if its own writers did not make them: what may not stand in for one's own.

A record ``origins/<key without .json>.<first 16 digits of its checksum>.json`` says that the manifest, unit seal, name,
trial or list of sample names at `key`, with that checksum (of a list the sha256 in its key), came from elsewhere and is
not trusted. No record means that it is the store's own. Whoever brings something writes the record first, so that
nothing from elsewhere is ever readable without it. Since it names the very bytes, it says nothing of what this store's
own writers put under the same key later, or had before. Records are of this store: they do not travel, and nothing that
travels can take the place of one. In a layered store each layer's records speak of that layer alone.

``origins/trusted/…`` has the same for sets that were trusted as they came: it is only shown.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from ...checksummed import dump_document
from ...errors import Corrupt, NotFound
from ...validation import Milliseconds
from ..backends.backend import Backend
from ..backends.layered import LayeredBackend
from .documents import SMALL, parse_json, read_document

ORIGINS = "origins/"
_TRUSTED = "origins/trusted/"
_DIGITS = 16


class Origin(BaseModel):
    """Where something came from.

    Parameters
    ----------
    place : str
        The file of an archive, or a store's URL.
    how : {"import", "pull", "from"}
        By which command or option: ``from`` for a store that is read beneath this one.
    arrived : int
        When, in milliseconds since 1970; 0 for what lies in another store.
    trusted : bool
        Whether it counts as this store's own.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    place: str
    how: Literal["import", "pull", "from"]
    arrived: Milliseconds = 0
    trusted: bool = False

    def remedy(self, store: str) -> str:
        """Return how to trust what came from there."""
        if self.how == "from":
            return "--trust, or list that store in a configuration file"
        return f"cryoprobe {self.how} {shlex.quote(self.place)} --trust --store {shlex.quote(store)}"


def arriving(place: str, how: Literal["import", "pull"], *, trusted: bool = False) -> Origin:
    """Return the origin of what arrives now."""
    return Origin(place=place, how=how, arrived=time.time_ns() // 1_000_000, trusted=trusted)


def mark(backend: Backend, key: str, checksum: str, origin: Origin) -> None:
    """Record that an object with that checksum came from elsewhere: before it is written, if it is not trusted."""
    where = _record_key(key, checksum, _TRUSTED if origin.trusted else ORIGINS)
    backend.put_if_absent(where, dump_document(origin.model_dump(mode="json"), SMALL))


def trust(backend: Backend, key: str, checksum: str) -> bool:
    """Make an object with that checksum count as the store's own; return whether it did not."""
    record = _record_key(key, checksum)
    if not backend.exists(record):
        return False
    backend.delete(record)
    return True


def origin_of(backend: Backend, key: str, checksum: str) -> Origin | None:
    """Return where an object of a store came from, if it is not trusted; None for the store's own.

    Parameters
    ----------
    backend : Backend
    key : str
        Of a manifest, unit seal, name, trial or list of sample names.
    checksum : str
        As it was read. To look at the records after it was read misses none.
    """
    for layer, untrusted in _layers(backend):
        if len(_layers(backend)) == 1 or layer.exists(key):
            return _beneath(layer) if untrusted else _read(layer, _record_key(key, checksum))
    return None


def arrival_of(backend: Backend, key: str, checksum: str) -> Origin | None:
    """Return where an object came from, trusted or not; None if the store's own writers made it."""
    origin = origin_of(backend, key, checksum)
    if origin is not None:
        return origin
    found = (_read(layer, _record_key(key, checksum, _TRUSTED)) for layer, _ in _layers(backend))
    return next((o.model_copy(update={"trusted": True}) for o in found if o is not None), None)


def marked(backend: Backend, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key of every object that a record says is not trusted, with the digits of its checksum.

    Parameters
    ----------
    backend : Backend
        Not a layered one.
    prefix : str
        Of the keys.
    """
    for record in list(backend.keys(f"{ORIGINS}{prefix}")):
        if not record.startswith(_TRUSTED):
            stem, _, digits = record.removeprefix(ORIGINS).removesuffix(".json").rpartition(".")
            yield stem if stem.endswith(".gz") else f"{stem}.json", digits


class _Layer(NamedTuple):
    backend: Backend
    keys: frozenset[str] | None  # None: all are
    records: frozenset[tuple[str, str]] | None  # None: the whole layer is not trusted


class Marks:
    """Which objects below a prefix are not trusted, by one listing (in a layered store, two of each layer).

    Make it after the objects were read: what they are was recorded before they could be.

    Parameters
    ----------
    backend : Backend
    prefix : str
        Such as ``names/``, or ``manifests/`` and an encoder's id.
    """

    def __init__(self, backend: Backend, prefix: str) -> None:
        self._layers: list[_Layer] = []
        layers = _layers(backend)
        for layer, untrusted in layers:
            records = None if untrusted else frozenset(marked(layer, prefix))
            self._layers.append(_Layer(layer, None, records))
        if len(layers) > 1 and any(layer.records != frozenset() for layer in self._layers):
            self._layers = [layer._replace(keys=frozenset(layer.backend.keys(prefix))) for layer in self._layers]

    def __bool__(self) -> bool:
        return any(layer.records != frozenset() for layer in self._layers)

    def of(self, key: str, checksum: str) -> Origin | None:
        """Return where an object came from if it is not trusted, else None."""
        layer = self._home(key)
        if layer is None:
            return None
        if layer.records is None:
            return _beneath(layer.backend)
        if (key, checksum[:_DIGITS]) not in layer.records:
            return None
        return _read(layer.backend, _record_key(key, checksum))

    def may_be(self, key: str) -> bool:
        """Return whether the object may not be trusted, whatever its checksum is."""
        layer = self._home(key)
        return layer is not None and (layer.records is None or any(k == key for k, _ in layer.records))

    def _home(self, key: str) -> _Layer | None:
        if not self:
            return None
        return next((layer for layer in self._layers if layer.keys is None or key in layer.keys), None)


def checksum_of(data: bytes, key: str, url: str) -> str:
    """Return the checksum that a seal, name or trial has in itself."""
    content = parse_json(data, key, url)
    return str(content.get("checksum", "")) if isinstance(content, dict) else ""


def _layers(backend: Backend) -> Sequence[tuple[Backend, bool]]:
    """Return the layers of a store, and whether each is not trusted."""
    if not isinstance(backend, LayeredBackend):
        return ((backend, False),)
    return [(layer, layer in backend.untrusted) for layer in (backend.upper, *backend.lowers)]


def _beneath(layer: Backend) -> Origin:
    return Origin(place=layer.url, how="from")


def _record_key(key: str, checksum: str, kind: str = ORIGINS) -> str:
    return f"{kind}{key.removesuffix('.json')}.{checksum[:_DIGITS]}.json"


def _read(backend: Backend, key: str) -> Origin | None:
    """Return what a record says; a damaged one says at least that there is one."""
    with suppress(NotFound):
        try:
            return Origin.model_validate(
                read_document(backend, key, "record of origin", "Import or pull the set again.")
            ).model_copy(update={"trusted": False})
        except (Corrupt, ValidationError):
            return Origin(place="?", how="pull")
    return None
