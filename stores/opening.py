"""Opening a store by its place: alone, or above further stores that are only read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import BadInput
from ..redaction import redacted
from .backends.backend import Backend
from .backends.cache import cached
from .backends.layered import LayeredBackend
from .backends.locations import backend_at, layers_at
from .format.marker import MARKER, write_marker
from .format.names import NamedSet
from .keys import manifest_key
from .local.config import is_trusted
from .store import Store


def open_store(
    url: str | Path | Store,
    *,
    create: bool = False,
    sources: Sequence[str | Path] = (),
    cache_size: int | None = None,
    trust: bool = False,
) -> Store:
    """Open a feature store.

    Parameters
    ----------
    url : str, Path or Store
        A folder, or ``file://`` and a folder; ``s3://BUCKET/PREFIX``, ``gs://…`` or ``az://…``, with credentials and
        endpoint from the environment; ``http(s)://…`` of a store's folder, to read; or a name that a configuration
        file gives to one of these, see `stores.local.config`. A store that is open already is returned as it is,
        whatever `cache_size` says.
    create : bool
        Make a store there if there is none: the place must then be empty or absent.
    sources : sequence of str or Path
        Further stores, which are only read: their sets, rows, names and trials are found too, and everything that is
        written goes to `url`, where a store is then made when the first object is written; see `LayeredStore`. Those
        that no configuration file lists are not trusted: see `trust`.
    cache_size : int, optional
        At most so many bytes of remote stores are kept on this machine; 0 keeps none. By default
        ``$CRYOPROBE_CACHE_SIZE``, else what a configuration file says, else 20 GiB.
    trust : bool
        Let what all `sources` have count as one's own. By default that is so for the stores of a configuration file;
        the sets of others can be read, but their rows, names and trials do not stand in for one's own.

    Raises
    ------
    NotFound
        If there is no store, and `create` is false; or if a source is none.
    BadInput
        If the place holds something else, or is none.
    Incompatible
        If a newer version of Cryoprobe made it, or its storage cannot keep writers apart.
    ReadOnly, Unavailable
        If the storage refuses, or fails.

    Guarantees
    ----------
    Of several callers that make the same store at once, each gets it. Credentials are neither repeated nor kept.
    """
    if isinstance(url, Store):
        if sources:
            raise BadInput("Sources are read below a store that is opened with them, not below an open one.")
        if create and isinstance(url, LayeredStore):
            write_marker(url._upper)
        return url
    first, *others = layers_at(url, sources, create=create)
    upper = cached(backend_at(first, create=create or bool(others)), cache_size)
    if (create or others) and not upper.exists(MARKER):
        stranger = upper.any_key()
        if stranger is not None and not upper.exists(MARKER):  # else somebody made the store this instant
            raise BadInput(
                f"{upper.url} is not a feature store, and not empty ({stranger.partition('/')[0]!r} …).",
                hint="Name a new folder or prefix for the store, or an existing store.",
                key="store",
            )
    if create:
        write_marker(upper)
    if not others:
        return Store(upper)
    below: dict[bool, list[Store]] = {True: [], False: []}
    for other in others:
        below[trust or is_trusted(other)].append(Store(cached(backend_at(other), cache_size)))
    layered = LayeredStore(upper, below[True], below[False])
    words = [word for source in sources for word in ("--from", redacted(str(source)))]
    layered.opened_with = (*words, *(["--trust"] if sources and trust else []))
    return layered


class LayeredStore(Store):
    """A store of one's own above shared ones, which are only read.

    Sets, rows to reuse, names and trials come from any of them. A set that is extracted here stands on its own: rows
    that a lower store has are copied to the upper one, not encoded again.

    Parameters
    ----------
    upper : Store or Backend
        Where everything is written. Storage that is empty becomes a store when the first object is written.
    lowers : sequence of Store
    untrusted : sequence of Store
        Further ones below those: their sets can be listed and read, but their rows, names and trials do not stand in
        for those of the others.
    """

    def __init__(self, upper: Store | Backend, lowers: Sequence[Store], untrusted: Sequence[Store] = ()) -> None:
        backend = upper.backend if isinstance(upper, Store) else upper
        below, apart = ([lower.backend for lower in stores] for stores in (lowers, untrusted))
        super().__init__(LayeredBackend(backend, below, apart, prepare=write_marker))
        self._upper = backend

    @property
    def own(self) -> Store:
        """The upper store."""
        return Store(self._upper)

    def name(self, named: NamedSet) -> None:
        """Give a sealed set a name; where it lies below and is what the name means already, nothing is written."""
        if not self._upper.exists(manifest_key(named.encoder, named.set)):
            newest = next((n for n in self.names() if n.name == named.name and n.origin is None), None)
            if newest is not None and newest.set == named.set:
                return
            named = named.model_copy(update={"below": True})
        super().name(named)
