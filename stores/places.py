"""A store by its places alone, so that another process, perhaps on another machine, opens the same one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .backends.layered import LayeredBackend
from .backends.locations import layers_at
from .format.marker import write_marker
from .local.config import is_trusted
from .opening import LayeredStore, open_store
from .store import Store


class StorePlaces(NamedTuple):
    """Where a store is, and the stores that it reads from.

    Parameters
    ----------
    url : str
        An absolute path or a URL.
    trusted, untrusted : tuple of str
        Of the stores below it; see `LayeredStore`.
    """

    url: str
    trusted: tuple[str, ...] = ()
    untrusted: tuple[str, ...] = ()

    def open(self, *, create: bool = False) -> Store:
        """Open the store, whatever configuration files say on this machine."""
        if not self.trusted and not self.untrusted:
            return open_store(_place(self.url), create=create)
        below = ([open_store(_place(url)) for url in urls] for urls in (self.trusted, self.untrusted))
        store = LayeredStore(open_store(_place(self.url), create=True), *below)
        if create:
            write_marker(store.own.backend)
        return store


def places_of(store: str | Path | Store) -> StorePlaces:
    """Return where a store is, without opening it.

    Parameters
    ----------
    store : str, Path or Store
        As for `open_store`; names of configuration files are replaced by what they stand for.

    Examples
    --------
    >>> places_of("s3://bucket/features").url
    's3://bucket/features'
    """
    if not isinstance(store, Store):
        first, *others = layers_at(store, create=True)
        counts = {other: is_trusted(other) for other in others}
        below = (tuple(_absolute(place) for place in others if counts[place] is wanted) for wanted in (True, False))
        return StorePlaces(_absolute(first), *below)
    layers = store.backend
    if not isinstance(layers, LayeredBackend):
        return StorePlaces(_absolute(store.url))
    untrusted = tuple(_absolute(layer.url) for layer in layers.untrusted)
    trusted = tuple(_absolute(layer.url) for layer in layers.lowers if layer not in layers.untrusted)
    return StorePlaces(_absolute(store.own.url), trusted, untrusted)


def _absolute(place: str | Path) -> str:
    text = str(place)
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() != "file":
        return text
    return str(Path(rest if separator else text).expanduser().absolute())


def _place(url: str) -> str | Path:
    return url if "://" in url else Path(url)  # a path is never taken for a name
