"""A feature store: sets, the names they go by, and the trials run on them.

The pipeline uses a store through this module: `Store`, with the types of what a store takes and gives, as ``__all__``
lists them. Beside it the pipeline imports only `stores.opening`, `stores.places`, `stores.feature_set`,
`stores.format.names` and `stores.local.sample_index`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from ..amounts import count
from ..errors import BadInput, Conflict, Corrupt, Incompatible, NotFound
from ..id_arrays import AnyIds, sample_array
from ..notebook import Cell, html_table
from ..parallel import each
from .backends.backend import Backend
from .feature_set import FeatureSet
from .format import trials
from .format.manifest import FailedSample, read_manifest
from .format.marker import check_marker
from .format.names import NamedSet, matching, spelled
from .format.origins import Origin, arrival_of, origin_of
from .format.pins_and_removals import read_pin
from .format.predictions import RowPredictions, read_predictions, record_in, write_predictions
from .format.provenance import Provenance
from .format.sample_names import write_sample_names
from .format.stored_names import names_of_sets, write_name
from .format.unit_seal import UnitSeal
from .keys import id_in, set_id, unit_id
from .samples import Samples
from .writing.row_index import RowIndex, RowSource, RowsRemoved
from .writing.row_table import RowTable
from .writing.sample_claims import SampleClaim, SampleClaims
from .writing.sets import SetContent, seal_set, sealed_set
from .writing.shared_work import SharedWork, ToldRows
from .writing.units import Rows, write_unit

__all__ = [
    "FailedSample",
    "Origin",
    "Provenance",
    "RowIndex",
    "RowPredictions",
    "RowSource",
    "RowTable",
    "Rows",
    "RowsRemoved",
    "SampleClaim",
    "SampleClaims",
    "Samples",
    "SharedWork",
    "Store",
    "ToldRows",
    "sample_array",
    "set_id",
]

_MOST_SHOWN = 50
"""Names that a notebook shows of a store; `Store.names` has all."""


class Store:
    """A feature store on some backend.

    Parameters
    ----------
    backend : Backend
        Holds a store of a known version; `open_store` makes one.
    """

    opened_with: tuple[str, ...] = ()
    """Options of the command line, beside ``--store``, that read the same stores below it."""

    def __init__(self, backend: Backend) -> None:
        check_marker(backend)
        self.backend = backend

    def __repr__(self) -> str:
        return f"<Store {self.url}>"

    def _repr_html_(self) -> str:
        named = self.names()
        title = f"Store {self.url}: {count(len({n.set for n in named}), 'set')}"
        if len(named) > _MOST_SHOWN:
            title += f", the newest {_MOST_SHOWN} of {len(named)} names"
        columns = ["set", "model", "dataset", "split", "tap", "rows", "dim", "options"]
        rows: list[list[Cell]] = [
            [n.set[:12], n.name.model, n.name.dataset, n.name.split, n.name.tap, n.rows, n.dim, spelled(n.name.options)]
            for n in named[:_MOST_SHOWN]
        ]
        return html_table(title, columns, rows)

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.backend.url

    @property
    def own(self) -> Store:
        """The store that is written to, without those below it."""
        return self

    def set_ids(self) -> dict[str, str]:
        """Return the ids of all sealed sets, with the keys of their manifests, by one listing."""
        return {id_in(key): key for key in self.backend.keys("manifests/")}

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
        return ids[_only(found, set_id, "set")]

    def sealed_folders(self) -> dict[str, str]:
        """Return the folder of every sealed set with the set's id, ordered by id; one with a damaged manifest has none.

        Of what changes meanwhile some may be missing.
        """

        def folder(item: tuple[str, str]) -> tuple[str, str] | None:
            with suppress(Corrupt, Incompatible, NotFound):
                return read_manifest(self.backend, item[1]).folder, item[0]
            return None

        return dict(found for found in each(folder, sorted(self.set_ids().items())) if found is not None)

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
        """Return every name of every set: the store's own first, newest first; then those that are not trusted.

        A set whose writer was killed before it was named goes by the name in its provenance. `NamedSet.origin` says
        where a name, or its set, came from that is not trusted.
        """
        return names_of_sets(self.backend, self.set_ids())

    def origin_of(self, feature_set: FeatureSet) -> Origin | None:
        """Return where a set came from, if it is not trusted; None for the store's own."""
        return origin_of(self.backend, feature_set.manifest.key, feature_set.manifest.checksum)

    def arrival_of(self, feature_set: FeatureSet) -> Origin | None:
        """Return where a set came from, trusted or not; None if it was made in this store."""
        return arrival_of(self.backend, feature_set.manifest.key, feature_set.manifest.checksum)

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
            "origin": None if (origin := self.arrival_of(feature_set)) is None else origin.model_dump(mode="json"),
            "pin": None if (pin := read_pin(self.backend, m.set)) is None else pin.model_dump(mode="json"),
            "encoder_id": m.encoder_id,
            "encoder": m.encoder,
            "dataset_id": m.dataset_id,
            "dataset": m.dataset,
            "failed": [f.model_dump(mode="json") for f in m.failed],
            "provenance": m.provenance.document,
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
        """Return the named sets that fit, in the order of `names`.

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

    def ls(
        self,
        *,
        model: str | None = None,
        dataset: str | None = None,
        split: str | None = None,
        tap: str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        class_names: str | None = None,
    ) -> list[NamedSet]:
        """Return the named sets whose names fit patterns such as ``timm:vit*``, in the order of `names`.

        Parameters
        ----------
        model, dataset, split, tap, image_column, label_column, class_names : str, optional
            The very text, or if nothing has that, with wildcards (``*``, ``?``, ``[…]``); what is left out fits
            anything. A data set that somebody gave a name is found by its path too. Class names by their digest.
        """
        patterns = {"model": model, "dataset": dataset, "split": split, "tap": tap}
        read = {"image_column": image_column, "label_column": label_column, "class_names": class_names}
        return matching(self.names(), NamedSet.field, {**patterns, **read})

    def name(self, named: NamedSet) -> None:
        """Give a sealed set a name."""
        write_name(self.backend, named)

    def name_samples(self, feature_set: FeatureSet, names: Sequence[str]) -> None:
        """Keep beside a set what its samples are called; see `stores.format.sample_names`."""
        write_sample_names(self.backend, feature_set.manifest, names)

    def rows_of(self, encoder_id: str) -> RowIndex:
        """Return the index of all rows that the store has of one encoder."""
        return RowIndex(self.backend, encoder_id)

    def write_unit(self, encoder_id: str, rows: Rows, made_by: Mapping[str, Any] | None = None) -> UnitSeal:
        """Write encoded rows and seal them as a unit, or adopt what is sealed; see `stores.writing.units`."""
        unit = unit_id(encoder_id, rows.samples)
        return write_unit(self.backend, encoder_id, unit, rows, made_by)

    def claims(self) -> SampleClaims:
        """Return a new extractor's claims; a context manager."""
        return SampleClaims(self.backend)

    def shared_work(self, work: str, target: str, *, afresh: bool = False) -> SharedWork:
        """Return what several processes tell each other of one piece of work; see `stores.writing.shared_work`."""
        return SharedWork(self.backend, work, target, afresh=afresh)

    def sealed(self, encoder_id: str, dataset_id: str) -> FeatureSet | None:
        """Return the set of an encoder on a data set if `seal` would adopt it; None if it would make one."""
        found = sealed_set(self.backend, encoder_id, set_id(encoder_id, dataset_id))
        return None if found is None else FeatureSet(self.backend, found)

    def seal(
        self,
        index: RowIndex,
        *,
        encoder: Mapping[str, Any],
        dataset: Mapping[str, Any],
        ids: AnyIds,
        labels: npt.NDArray[np.int64] | npt.NDArray[np.uint8],
        failed: Sequence[FailedSample] = (),
        chunk_rows: int = 4096,
        provenance: Provenance | None = None,
        goes_on: Callable[[], None] = lambda: None,
    ) -> tuple[FeatureSet, bool]:
        """Assemble and seal a set from rows that the store has; see `stores.writing.sets.seal_set`."""
        content = SetContent(encoder, dataset, ids, labels, failed, chunk_rows, provenance or Provenance())
        manifest, sealed = seal_set(self.backend, index, content, goes_on)
        return FeatureSet(self.backend, manifest), sealed

    def trial(self, trial_id: str, *, trusted: bool = False) -> dict[str, JsonValue] | None:
        """Return the stored result of a trial, or None if it has not been run; raise `Corrupt` where it is damaged.

        With `trusted`, one that came from elsewhere and is not trusted counts as not run.
        """
        return trials.read_trial(self.backend, trial_id, trusted=trusted)

    def origin_of_trial(self, trial_id: str) -> Origin | None:
        """Return where the stored result of a trial came from, if that is not trusted."""
        return trials.origin_of_trial(self.backend, trial_id)

    def arrival_of_trial(self, trial_id: str) -> str | None:
        """Return from where the stored result of a trial came, trusted or not; None if it was run in this store."""
        return trials.arrival_of_trial(self.backend, trial_id)

    def record_trial(self, trial_id: str, result: Mapping[str, Any], *, replace: bool = False) -> None:
        """Store the result of a trial, whose field ``trial`` is its id; the first one stays, unless told to replace."""
        trials.write_trial(self.backend, trial_id, result, replace=replace)

    def keep_predictions(self, trial_id: str, found: RowPredictions) -> dict[str, JsonValue]:
        """Keep what the probe of a trial said of each test row; return the trial's field ``predictions``.

        To be called before `record_trial`: what no trial names is collected by `gc`.
        """
        return write_predictions(self.backend, trial_id, found).model_dump(mode="json")

    def predictions(
        self, trial: Mapping[str, Any], *, rows: int, classes: int, multilabel: bool
    ) -> RowPredictions | None:
        """Return what the probe of a stored trial said of its test rows; None if the store does not have that.

        Raises
        ------
        Corrupt
            If it is damaged.
        """
        record, trial_id = record_in(trial), str(trial["trial"])
        if record is None:
            return None
        return read_predictions(self.backend, trial_id, record, rows=rows, classes=classes, multilabel=multilabel)

    def trial_id(self, trial_id: str) -> str:
        """Return the id of a stored trial, given it or the first digits of it that no other trial has.

        Raises
        ------
        NotFound
            If there is none.
        BadInput
            If there are several.
        """
        found = self._trials_like(trial_id)
        if not found:
            raise NotFound(
                f"There is no trial {trial_id!r} in {self.url}.",
                hint=f"List them: cryoprobe results --store {self.url}",
                key=trial_id,
            )
        return _only(found, trial_id, "trial")

    def kind_of(self, digits: str) -> Literal["set", "trial"]:
        """Return whether the id of a set or that of a trial begins so.

        Raises
        ------
        NotFound
            If neither does.
        Conflict
            If both do.
        """
        trials = self._trials_like(digits)
        sets = [i for i in self.set_ids() if i.startswith(digits.lower())] if digits else []
        if not trials and not sets:
            raise NotFound(
                f"There is no set and no trial {digits!r} in {self.url}.",
                hint=f"List them:\n  cryoprobe ls --store {self.url}\n  cryoprobe results --store {self.url}",
                key=digits,
            )
        if trials and sets:
            listed = [*(f"set {i[:16]}" for i in sorted(sets)), *(f"trial {i[:16]}" for i in trials)]
            raise Conflict(
                f"{digits!r} begins ids of sets and of trials: {', '.join(listed[:6])}{' …' * (len(listed) > 6)}.",
                hint="Give more digits.",
                key=digits,
            )
        return "trial" if trials else "set"

    def _trials_like(self, digits: str) -> list[str]:
        ids = (id_in(key) for key in self.backend.keys("trials/"))
        return sorted(i for i in ids if i.startswith(digits.lower())) if digits else []

    def trials(self) -> Iterator[dict[str, JsonValue]]:
        """Yield every stored trial, ordered by id. A damaged one is left out: `verify` names it.

        One that came from elsewhere and is not trusted has ``origin``, the place.
        """
        return trials.read_trials(self.backend)


def _only(found: Sequence[str], digits: str, kind: str) -> str:
    """Return the only id that begins so; raise `BadInput` if there are several."""
    if len(found) > 1:
        listed = ", ".join(i[:16] for i in sorted(found)[:5])
        raise BadInput(f"{digits!r} begins {len(found)} {kind} ids: {listed} …", hint="Give more digits.", key=digits)
    return found[0]
