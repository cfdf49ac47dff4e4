"""A feature store: sets, the names they go by, and the trials run on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from ..errors import BadInput, Corrupt, Incompatible, NotFound
from . import layout, names
from .backend import Backend, ObjectInfo
from .claims import Claims
from .feature_set import FeatureSet
from .locations import backend_at
from .manifest import FailedSample, read_manifest
from .names import Name, NamedSet
from .parallel import each
from .rows import RowIndex
from .sets import seal_set


def open_store(url: str | Path, *, create: bool = False) -> Store:
    """Open a feature store.

    Parameters
    ----------
    url : str or Path
        A folder, or ``file://`` and a folder; ``s3://BUCKET/PREFIX``, ``gs://…`` or ``az://…``, with credentials and
        endpoint from the environment; ``http(s)://…`` of a store's folder, to read; or a name that a configuration
        file gives to one of these, see `stores.known`.
    create : bool
        Make a store there if there is none: the place must then be empty or absent.

    Raises
    ------
    NotFound
        If there is no store, and `create` is false.
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
    backend = backend_at(url, create=create)
    if create:
        if not backend.exists(layout.MARKER):
            stranger = backend.any_key()
            if stranger is not None and not backend.exists(layout.MARKER):  # else somebody made the store this instant
                raise BadInput(
                    f"{backend.url} is not a feature store, and not empty ({stranger.partition('/')[0]!r} …).",
                    hint="Name a new folder or prefix for the store, or an existing store.",
                    key="store",
                )
        layout.write_marker(backend)
    return Store(backend)


class Store:
    """A feature store on some backend.

    Parameters
    ----------
    backend : Backend
        Holds a store of a known version; `open_store` makes one.
    """

    def __init__(self, backend: Backend) -> None:
        layout.check_marker(backend)
        self.backend = backend

    def __repr__(self) -> str:
        return f"<Store {self.url}>"

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.backend.url

    def set_ids(self) -> dict[str, str]:
        """Return the ids of all sealed sets, with the keys of their manifests, by one listing."""
        return {layout.stem(info.key): info.key for info in self.backend.list("manifests/")}

    def manifest_key(self, set_id: str) -> str:
        """Return the key of the manifest of a set, given its id or the first digits of it that no other set has.

        Raises
        ------
        NotFound
            If there is none.
        BadInput
            If there are several.
        """
        ids = self.set_ids()
        found = [i for i in ids if i.startswith(set_id.lower())] if set_id else []
        if not found:
            raise NotFound(
                f"There is no set {set_id!r} in {self.url}, which has {len(ids)}.",
                hint=f"List them: cryoprobe ls --store {self.url}",
                key=set_id,
            )
        if len(found) > 1:
            listed = ", ".join(i[:16] for i in sorted(found)[:5])
            raise BadInput(f"{set_id!r} begins {len(found)} set ids: {listed} …", hint="Give more digits.", key=set_id)
        return ids[found[0]]

    def open(self, set_id: str) -> FeatureSet:
        """Open a sealed set by its id, or the first digits of it that no other set has.

        Raises
        ------
        NotFound, BadInput
            If there is none, or several.
        Corrupt
            If its manifest is damaged.
        """
        return FeatureSet(self.backend, read_manifest(self.backend, self.manifest_key(set_id)))

    def names(self) -> list[NamedSet]:
        """Return every name of every set, newest first.

        A set whose writer was killed before it was named goes by the name in its provenance.
        """
        sealed = self.set_ids()
        found = [n for n in names.read_all(self.backend) if n.set in sealed]
        for set_, key in sealed.items() - {(n.set, layout.manifest_key(n.encoder, n.set)) for n in found}:
            with suppress(Corrupt, Incompatible, NotFound, ValidationError):  # `verify` names what is damaged
                manifest = read_manifest(self.backend, key)
                found.append(
                    NamedSet(
                        name=Name.model_validate(manifest.provenance.get("name")),
                        set=set_,
                        encoder=manifest.encoder_id,
                        rows=manifest.rows,
                        dim=manifest.dim,
                        failed=len(manifest.failed),
                        size=manifest.size,
                        named=manifest.provenance.get("created", 0),
                    )
                )
        return sorted(found, key=lambda n: (-n.named, n.set))

    def describe(self, set_id: str) -> dict[str, Any]:
        """Return everything that is known of a set, as JSON values."""
        feature_set = self.open(set_id)
        m = feature_set.manifest
        return {
            "set": m.set,
            "path": feature_set.path,
            "rows": m.rows,
            "dim": m.dim,
            "dtype": m.dtype,
            "size": m.size,
            "chunk_rows": m.chunk_rows,
            "names": [n.name.model_dump(mode="json") for n in self.names() if n.set == m.set],
            "encoder_id": m.encoder_id,
            "encoder": m.encoder,
            "dataset_id": m.dataset_id,
            "dataset": m.dataset,
            "failed": [f.model_dump(mode="json") for f in m.failed],
            "provenance": m.provenance,
        }

    def find(
        self,
        *,
        model: str | None = None,
        dataset: str | None = None,
        split: str | None = None,
        tap: str | None = None,
        **options: Any,
    ) -> list[NamedSet]:
        """Return the named sets that fit, newest first.

        Parameters
        ----------
        model, dataset, split, tap : str, optional
            As in `Name`; what is left out fits anything.
        **options
            Any other field of `Name`; None fits anything.
        """
        wanted = {"model": model, "dataset": dataset, "split": split, "tap": tap, **options}
        wanted = {k: v for k, v in wanted.items() if v is not None}
        return [n for n in self.names() if all(getattr(n.name, k) == v for k, v in wanted.items())]

    def name(self, named: NamedSet) -> None:
        """Give a sealed set a name."""
        names.record(self.backend, named)

    def rows_of(self, encoder_id: str) -> RowIndex:
        """Return the index of all rows that the store has of one encoder."""
        return RowIndex(self.backend, encoder_id)

    def claims(self) -> Claims:
        """Return a new extractor's claims; a context manager."""
        return Claims(self.backend)

    def seal(
        self,
        index: RowIndex,
        *,
        encoder: Mapping[str, Any],
        dataset: Mapping[str, Any],
        ids: Sequence[bytes],
        labels: npt.NDArray[np.int64] | npt.NDArray[np.uint8],
        failed: Sequence[FailedSample] = (),
        chunk_rows: int = 4096,
        provenance: Mapping[str, Any] | None = None,
    ) -> tuple[FeatureSet, bool]:
        """Assemble and seal a set from rows that the store has; see `stores.sets.seal_set`."""
        manifest, sealed = seal_set(
            self.backend,
            index,
            encoder=encoder,
            dataset=dataset,
            ids=ids,
            labels=labels,
            failed=failed,
            chunk_rows=chunk_rows,
            provenance=provenance or {},
        )
        return FeatureSet(self.backend, manifest), sealed

    def trial(self, trial_id: str) -> dict[str, Any] | None:
        """Return the stored result of a trial, or None if it has not been run; raise `Corrupt` where it is damaged."""
        key = f"trials/{trial_id}.json"
        what, hint = "trial", "Delete the object and run the same probe again."
        try:
            content = layout.read_sealed(self.backend, key, what, hint, layout.LARGE)
        except NotFound:
            return None
        if content.get("trial") != trial_id:
            raise layout.damaged(self.backend, key, what, "it is another trial", hint)
        return {k: v for k, v in content.items() if k != "checksum"}

    def record_trial(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Store the result of a trial, whose field ``trial`` is its id; the first one stays."""
        self.backend.put_if_absent(f"trials/{trial_id}.json", layout.dump_seal(result))

    def trials(self) -> Iterator[dict[str, Any]]:
        """Yield every stored trial, ordered by id. A damaged one is left out: `verify` names it."""

        def read(info: ObjectInfo) -> dict[str, Any] | None:
            with suppress(Corrupt):
                return self.trial(layout.stem(info.key))
            return None

        found = each(read, self.backend.list("trials/"))
        yield from (result for result in found if result is not None)
