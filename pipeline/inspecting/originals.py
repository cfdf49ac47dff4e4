"""The images of a set's samples, if they are on this machine: found by the data set's name, verified by their bytes.

A name in a store can be a stranger's. So names that came from a place that is not trusted are not used. Only kinds of
this package are opened, of files on this machine: nothing is fetched, and no code that a name could stand for is run.
An image counts only if the sha256 of its bytes is the sample id, so that none is ever shown for another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...amounts import be, count
from ...errors import CryoprobeError
from ...parallel import each
from ...stores.feature_set import FeatureSet
from ...stores.format.names import NamedSet
from ...stores.store import Store
from ..datasets import is_own, limit_split, open_dataset
from ..datasets.base import Split, UndecodableImage
from ..datasets.urls import is_hf_path, is_remote
from ..joined_taps import BETWEEN
from ..options import SourceOptions
from ..trials.joined_sets import JoinedSet

if TYPE_CHECKING:
    from PIL import Image

_DECODERS = 4

_WAYS: dict[str, tuple[dict[str, Any], ...]] = {
    "folder": ({}, {"layout": "split"}, {"layout": "class"}, {"unlabelled": True}),
    "wds": ({}, {"unlabelled": True}),
}
"""How a data set may have been read that names do not tell: what was meant is known by the bytes of its images."""


class Originals:
    """The images of a set.

    Parameters
    ----------
    feature_set : FeatureSet
    split : Split or None
        Where they may be; None if nothing leads to them.
    problem : str
        Why nothing does, as a sentence without its end; empty if something does.

    Attributes
    ----------
    changed : int
        Samples that were looked for so far and are not there, or are not what they were when the set was extracted.
    """

    def __init__(self, feature_set: FeatureSet, split: Split | None, problem: str = "") -> None:
        self.feature_set = feature_set
        self.problem = problem
        self.changed = 0
        self._split = split

    def image(self, row: int) -> Image.Image | None:
        """Return the image of a row; None if it is not at hand, has changed or cannot be decoded."""
        return next(self.images([row]))

    def images(self, rows: Sequence[int]) -> Iterator[Image.Image | None]:
        """Yield the images of some rows, in order; some are read ahead."""
        if self._split is None:
            yield from (None for _ in rows)
            return
        ids = self.feature_set.sample_ids(list(rows))
        wanted = [(row, ids[i].tobytes()) for i, row in enumerate(rows)]
        for image in each(lambda asked: self._read(*asked), wanted, _DECODERS):
            self.changed += image is None
            yield image

    def notes(self) -> list[str]:
        """Return what is to be said of images that were not found."""
        if self.problem:
            return [self.problem]
        if self.changed:
            n = count(self.changed, "image")
            return [f"{n} of set {self.feature_set.id[:12]} {be(self.changed)} gone, or changed since it was extracted"]
        return []

    def _read(self, row: int, sample: bytes) -> Image.Image | None:
        assert self._split is not None
        for index in self._places(row):
            try:
                raw = self._split.read(index)
                if hashlib.sha256(raw).digest() == sample:
                    return self._split.decode(raw)
            except (OSError, UndecodableImage, CryoprobeError, ValueError, IndexError):
                continue
        return None

    def _places(self, row: int) -> Iterator[int]:
        """Yield where a row's sample may be in the split: at its own place, else where its name is."""
        assert self._split is not None
        if row < len(self._split):
            yield row
        name = self._names[row] if self._names is not None and row < len(self._names) else None
        index = self._index.get(name) if name is not None else None
        if index is not None and index != row:
            yield index

    @cached_property
    def _names(self) -> Sequence[str] | None:
        try:
            return self.feature_set.sample_names()
        except CryoprobeError:
            return None

    @cached_property
    def _index(self) -> dict[str, int]:
        split = self._split
        return {} if split is None else {split.describe(i): i for i in range(len(split))}


def originals_of(store: Store, feature_set: FeatureSet, data_root: Path | None = None) -> Originals:
    """Look for the images of a set, under all names that it goes by.

    Parameters
    ----------
    store : Store
    feature_set : FeatureSet
    data_root : Path, optional
        Folder of torchvision's data sets.
    """
    candidates, problem = _candidates(store, feature_set)
    ends = sorted({0, feature_set.rows // 2, feature_set.rows - 1}) if feature_set.rows else []
    for dataset, name in candidates:
        for options in _WAYS.get(dataset.partition(":")[0], ({},)):
            found, why = _open(dataset, name, options, data_root)
            if found is None:
                problem = why
                continue
            made = Originals(feature_set, found)
            if any(image is not None for image in made.images(ends)):
                made.changed = 0
                return made
            problem = f"the images of {dataset} are not here any more, or have changed"
    return Originals(feature_set, None, problem)


def _candidates(store: Store, feature_set: FeatureSet) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    """Return the data sets that a set is called by, with the other fields of the name, and what to say if none helps.

    Names that came from a place that is not trusted are left out: ``folder:/`` would have the whole disk searched.
    """
    ids = set(feature_set.id.split(BETWEEN))
    named: list[NamedSet] = [n for n in store.names() if n.set in ids]
    names = [(dataset, n.name.model_dump()) for n in named if n.origin is None for dataset in n.datasets]
    first = feature_set.parts[0] if isinstance(feature_set, JoinedSet) else feature_set
    origin = store.origin_of(first)
    recorded = feature_set.manifest.provenance.name
    if origin is None and isinstance(recorded.get("dataset"), str):
        names.append((str(recorded["dataset"]), dict(recorded)))
    found: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {}
    for dataset, name in names:
        key = (dataset, str(name.get("split")), str(name.get("limit")), str(name.get("limit_seed")))
        found.setdefault(key, (dataset, name))
    origin = next((n.origin for n in named if n.origin is not None), origin)
    problem = "nothing in the store says where the images are"
    if origin is not None:
        problem = (
            f"the name of the data set came from {origin.place}, which is not trusted, so its images are not looked "
            f"for; to trust it: {origin.remedy(store.url)}"
        )
    return list(found.values()), problem


def _open(
    dataset: str, name: dict[str, Any], options: dict[str, Any], data_root: Path | None
) -> tuple[Split | None, str]:
    """Open a split by its name, or say why not."""
    kind, _, rest = dataset.partition(":")
    if is_own(dataset):
        return None, f"{dataset} is not a name by which this version opens images"
    if is_remote(rest) or (kind == "hf" and not is_hf_path(rest)):
        return None, f"the images of {dataset} are not on this machine, and are not fetched"
    reading = {key: name[key] for key in ("image_column", "label_column") if isinstance(name.get(key), str)}
    if kind == "torchvision":
        reading["data_root"] = data_root
    try:
        split = open_dataset(dataset, SourceOptions.model_validate({**reading, **options})).split(
            str(name.get("split"))
        )
        limit, seed = name.get("limit"), name.get("limit_seed")
        if isinstance(limit, int):
            split = limit_split(split, limit, seed if isinstance(seed, int) else 0)
    except (CryoprobeError, OSError, ValueError) as e:
        why = e.message if isinstance(e, CryoprobeError) else str(e)
        return None, f"the images of {dataset} cannot be opened: {why.rstrip('.')}"
    return split, ""
