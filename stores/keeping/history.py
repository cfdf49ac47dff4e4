"""Who made which set, when, with which versions and by which command: what the manifests record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from ...errors import Corrupt, Incompatible, NotFound
from ...parallel import each
from ..format.manifest import read_manifest
from ..format.names import Name
from ..format.origins import Origin, arrival_of
from ..format.provenance import Provenance
from ..opening import open_store
from ..store import Store


@dataclass(frozen=True)
class Entry:
    """How one set came to be.

    Parameters
    ----------
    set : str
    name : Name or None
        What it was made as.
    rows : int
    encoded : int or None
        Images that were encoded for it; the other rows were in the store.
    created : int or None
        Milliseconds since 1970, by the clock of whoever made it.
    user, host, device : str or None
    versions : dict of str to str
        Of Python and the packages.
    command : list of str or None
        The command line, where it was one of Cryoprobe's.
    origin : Origin or None
        Where the set came from, if it was not made in this store.
    """

    set: str
    name: Name | None
    rows: int
    encoded: int | None
    created: int | None
    user: str | None
    host: str | None
    device: str | None
    versions: Mapping[str, str]
    command: list[str] | None
    origin: Origin | None = None


def log(
    store: str | Path | Store,
    sets: Sequence[str] = (),
    *,
    model: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    tap: str | None = None,
) -> list[Entry]:
    """Return how each set of a store came to be, newest first.

    Parameters
    ----------
    store : str, Path or Store
    sets : sequence of str
        Ids of sets, or their first digits; with none, all but those with a damaged manifest.
    model, dataset, split, tap : str, optional
        Patterns (``timm:vit*``), one of the names of a set has to fit.

    Raises
    ------
    NotFound, BadInput
        If an id has no set, or its first digits are those of several.
    Corrupt, Incompatible
        If the manifest of a set that is named by its id cannot be read.
    """
    opened = open_store(store)
    patterns = {"model": model, "dataset": dataset, "split": split, "tap": tap}

    left_out = () if sets else (Corrupt, Incompatible, NotFound)

    def entry(key: str) -> Entry | None:
        with suppress(*left_out):
            manifest = read_manifest(opened.backend, key)
            made = _entry(manifest.set, manifest.rows, manifest.provenance)
            return replace(made, origin=arrival_of(opened.backend, key, manifest.checksum))
        return None

    keys = dict.fromkeys(opened.manifest_key(s) for s in sets) if sets else opened.set_ids().values()
    found = [e for e in each(entry, keys) if e is not None]
    if any(pattern is not None for pattern in patterns.values()):
        fitting = {n.set for n in opened.ls(**patterns)}
        found = [e for e in found if e.set in fitting]
    return sorted(found, key=lambda e: (-(e.created or 0), e.set))


def _entry(set_: str, rows: int, made: Provenance) -> Entry:
    """Return how a set came to be; other writers may record less or more than Cryoprobe does."""
    name = None
    with suppress(ValidationError):
        name = Name.model_validate(made.name)
    return Entry(
        set=set_,
        name=name,
        rows=rows,
        encoded=made.encoded,
        created=made.created if "created" in made.document else None,
        user=made.user,
        host=made.host,
        device=made.device,
        versions={package: str(version) for package, version in (made.versions or {}).items()},
        command=None if made.command is None else [str(word) for word in made.command],
    )
