"""Several stores as one: what any of them has is found, and everything that is written goes to the upper one."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from ...errors import NotFound
from ..chunks import Checksum, ObjectRecord, Part
from .backend import Backend, ObjectInfo

Result = TypeVar("Result")

_OWN = ("claims/", "origins/", "shared/")
"""Claims apply to one store, and so do the records of what is not trusted: those of lower stores are ignored."""


class LayeredBackend(Backend):
    """The objects of several backends; of two with one key, that of the upper one, then of the first lower one.

    An object counts as absent only if no layer has it: what is sealed below is adopted, not written again above.

    Parameters
    ----------
    upper : Backend
        Where everything is written. It is made a store when the first object is.
    lowers : sequence of Backend
        Stores; they are only read.
    untrusted : sequence of Backend
        Further ones below those, whose content does not stand in for that of the others: what is sealed there alone
        counts as absent when it is to be written.
    prepare : callable
        Makes `upper` a store; called before the first object is written.
    """

    def __init__(
        self,
        upper: Backend,
        lowers: Sequence[Backend],
        untrusted: Sequence[Backend] = (),
        *,
        prepare: Callable[[Backend], None],
    ) -> None:
        self.upper = upper
        self.lowers = (*lowers, *untrusted)
        self.untrusted = tuple(untrusted)
        self.url = upper.url
        self.remote = any(layer.remote for layer in (upper, *self.lowers))
        self.near = upper.near
        self._prepare = prepare
        self._prepared = False
        self._layers: dict[str, Backend] = {}  # of folders whose objects are all in one layer

    def get(self, key: str, limit: int | None = None) -> bytes:  # noqa: D102
        return self._first(key, lambda layer: layer.get(key, limit))

    def read_into(self, key: str, parts: Sequence[Part], checksum: Checksum) -> int:  # noqa: D102
        return self._first(key, lambda layer: layer.read_into(key, parts, checksum))

    def read_chunk(self, key: str, record: ObjectRecord, parts: Sequence[Part]) -> None:  # noqa: D102
        self._layer_of(key).read_chunk(key, record, parts)

    def home(self, key: str) -> str:  # noqa: D102
        return self._layer_of(key).url

    def put(self, key: str, data: bytes) -> None:  # noqa: D102
        self._writable().put(key, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:  # noqa: D102
        trusted = (layer for layer in self.lowers if layer not in self.untrusted)
        if not key.startswith(_OWN) and any(layer.exists(key) for layer in trusted):
            return False
        return self._writable().put_if_absent(key, data)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:  # noqa: D102
        return _merged([layer.list(prefix) for layer in self._layers_for(prefix)], lambda info: info.key)

    def keys(self, prefix: str = "") -> Iterator[str]:  # noqa: D102
        return _merged([layer.keys(prefix) for layer in self._layers_for(prefix)], lambda key: key)

    def read_all(self, prefix: str, limit: int) -> Iterator[tuple[str, bytes]]:  # noqa: D102
        return _merged([layer.read_all(prefix, limit) for layer in self._layers_for(prefix)], lambda found: found[0])

    def any_key(self, prefix: str = "") -> str | None:  # noqa: D102
        found = (layer.any_key(prefix) for layer in self._layers_for(prefix))
        return next((key for key in found if key is not None), None)

    def delete(self, key: str) -> None:
        """Remove the object from the upper layer; one that a lower layer has stays there."""
        self.upper.delete(key)

    def copy(self, source: str, target: str) -> None:  # noqa: D102
        layer = self._layer_of(source)
        upper = self._writable()
        if layer is self.upper:
            upper.copy(source, target)
        else:
            upper.put(target, layer.get(source))

    def copy_from(self, other: Backend, key: str, *, link: bool = False) -> bool:  # noqa: D102
        return self._writable().copy_from(other, key, link=link)

    def exists(self, key: str) -> bool:  # noqa: D102
        return any(layer.exists(key) for layer in self._layers_for(key))

    def _layers_for(self, key: str) -> Sequence[Backend]:
        return (self.upper,) if key.startswith(_OWN) else (self.upper, *self.lowers)

    def _first(self, key: str, verb: Callable[[Backend], Result]) -> Result:
        """Return what the first layer answers that has the object."""
        if (known := self._layers.get(_folder(key))) is not None:
            return verb(known)
        missing = None
        for layer in self._layers_for(key):
            try:
                return verb(layer)
            except NotFound as e:
                missing = missing or e
        assert missing is not None
        raise missing

    def _layer_of(self, key: str) -> Backend:
        """Return the layer that has the object, or the upper one."""
        folder = _folder(key)
        if (known := self._layers.get(folder)) is not None:
            return known
        # Ask for an object that every set has, so that one that lacks is missed where the others are.
        asked = f"{folder}/zarr.json" if folder.startswith("sets/") else key
        found = next((layer for layer in self._layers_for(key) if layer.exists(asked)), None)
        if found is not None and folder:
            self._layers[folder] = found
        return found or self.upper

    def _writable(self) -> Backend:
        if not self._prepared:
            self._prepare(self.upper)
            self._prepared = True
        return self.upper


def _merged(layers: Sequence[Iterator[Result]], key: Callable[[Result], str]) -> Iterator[Result]:
    """Merge what each layer yields by key; of equals the first layer's counts."""
    for _, same in itertools.groupby(heapq.merge(*layers, key=key), key=key):
        yield next(same)


def _folder(key: str) -> str:
    """Return the attempt's folder that the object is in, which one writer wrote; empty for what is in none."""
    kind, *rest = key.split("/")
    depth = {"sets": 2, "units": 3}.get(kind, 0)
    return "/".join((kind, *rest[:depth])) if depth and len(rest) > depth else ""
