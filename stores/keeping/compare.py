"""How two sets differ: in their specs, in which rows they have, and in the embeddings of the rows they share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...class_names import composed
from ...differing_fields import fields_that_differ
from ..feature_set import FeatureSet
from ..opening import open_store
from ..store import Store

_BLOCK_ROWS = 4096
_SAMPLES_NAMED = 10


@dataclass(frozen=True)
class Distances:
    """How far the embeddings of common rows are apart.

    Parameters
    ----------
    identical : int
        Rows whose stored embeddings are equal, bit by bit.
    mean, median, largest : float
        Of the cosine distance 1 - <a, b> between unit embeddings.
    largest_norm_ratio : float
        Of the two norms before normalising, the larger one by the smaller one, at most.
    """

    identical: int
    mean: float
    median: float
    largest: float
    largest_norm_ratio: float


@dataclass(frozen=True)
class Difference:
    """How set `b` differs from set `a`.

    Parameters
    ----------
    a, b : str
        Set ids.
    encoder, dataset : dict
        Fields in which the specs differ, with dots between levels: ``[value in a, value in b]``; None where a field is
        missing.
    rows : tuple of int
        Rows of a and of b.
    common : int
        Images, known by their bytes, that both have.
    only_a, only_b : int
        Images that only one has.
    only_a_samples, only_b_samples : tuple of str
        The first ten of those, by sample id.
    relabelled : int or None
        Common images whose label has another class name in b; None where one of the sets has none or several a row, and
        the other one.
    distances : Distances or None
        None where no image is common, or the embeddings are of different widths.
    """

    a: str
    b: str
    encoder: dict[str, list[Any]]
    dataset: dict[str, list[Any]]
    rows: tuple[int, int]
    common: int
    only_a: int
    only_b: int
    only_a_samples: tuple[str, ...]
    only_b_samples: tuple[str, ...]
    relabelled: int | None
    distances: Distances | None

    @property
    def same(self) -> bool:
        """Whether the two have the same rows, labels and embeddings."""
        alike = self.distances is not None and self.distances.identical == self.common
        return alike and not (self.encoder or self.dataset or self.only_a or self.only_b or self.relabelled)


def diff(store: str | Path | Store, a: str, b: str, *, other: str | Path | Store | None = None) -> Difference:
    """Compare two sets.

    Parameters
    ----------
    store : str, Path or Store
    a, b : str
        Set ids, or their first digits.
    other : str, Path or Store, optional
        Where `b` is, if in another store.

    Returns
    -------
    Difference

    Raises
    ------
    NotFound, BadInput
        If there is no such set, or several.
    Corrupt
        If a chunk of either is not what was sealed.
    """
    first = open_store(store)
    second = first if other is None else open_store(other)
    return compare(first.open(a), second.open(b))


def compare(a: FeatureSet, b: FeatureSet) -> Difference:
    """Compare two feature sets; memory is that of their sample ids and labels, and one block of rows."""
    rows_a, rows_b = _first_rows(a), _first_rows(b)
    common = [sample for sample in rows_a if sample in rows_b]
    only_a = [sample.hex() for sample in rows_a if sample not in rows_b]
    only_b = [sample.hex() for sample in rows_b if sample not in rows_a]
    at = np.array([(rows_a[s], rows_b[s]) for s in common], np.int64).reshape(-1, 2)  # [n, 2]
    return Difference(
        a=a.id,
        b=b.id,
        encoder=fields_that_differ(a.manifest.encoder, b.manifest.encoder),
        dataset=fields_that_differ(a.manifest.dataset, b.manifest.dataset),
        rows=(a.rows, b.rows),
        common=len(common),
        only_a=len(only_a),
        only_b=len(only_b),
        only_a_samples=tuple(only_a[:_SAMPLES_NAMED]),
        only_b_samples=tuple(only_b[:_SAMPLES_NAMED]),
        relabelled=_relabelled(a, b, at),
        distances=_distances(a, b, at) if len(common) and a.dim == b.dim else None,
    )


def _first_rows(feature_set: FeatureSet) -> dict[bytes, int]:
    """Return each sample with the first row that has it, in order."""
    rows: dict[bytes, int] = {}
    for row, sample in enumerate(feature_set.sample_ids()):
        rows.setdefault(sample.tobytes(), row)
    return rows


def _relabelled(a: FeatureSet, b: FeatureSet, at: npt.NDArray[np.int64]) -> int | None:
    """Count rows whose labels mean other classes, by name: the same class may have another number."""
    if a.multilabel != b.multilabel or a.unlabelled or b.unlabelled:
        return None
    y_a, y_b = a.labels()[at[:, 0]], b.labels()[at[:, 1]]
    number = {name: i for i, name in enumerate(dict.fromkeys(map(composed, [*a.classes, *b.classes])))}
    to_a, to_b = (np.array([number[composed(c)] for c in s.classes], np.int64) for s in (a, b))
    if not a.multilabel:
        return int((to_a[y_a] != to_b[y_b]).sum())
    flags = [np.zeros((len(at), len(number)), np.uint8) for _ in range(2)]
    flags[0][:, to_a], flags[1][:, to_b] = y_a, y_b
    return int((flags[0] != flags[1]).any(axis=1).sum())


def _distances(a: FeatureSet, b: FeatureSet, at: npt.NDArray[np.int64]) -> Distances:
    identical, distance = 0, np.empty(len(at))
    for start in range(0, len(at), _BLOCK_ROWS):
        part = at[start : start + _BLOCK_ROWS]
        x, y = (s.load(part[:, i], "float64")[0] for i, s in enumerate((a, b)))  # [n, d]
        same = (x == y).all(axis=1)
        identical += int(same.sum())
        lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)  # 1, but for the rounding of float16
        # Of equal rows the distance is 0, and not what rounding leaves of it.
        distance[start : start + len(part)] = np.where(
            same, 0.0, np.maximum(0.0, 1 - np.einsum("nd,nd->n", x, y) / lengths)
        )
    norms_a, norms_b = a.norms(at[:, 0]).astype(np.float64), b.norms(at[:, 1]).astype(np.float64)
    return Distances(
        identical=identical,
        mean=float(distance.mean()),
        median=float(np.median(distance)),
        largest=float(distance.max()),
        largest_norm_ratio=float((np.maximum(norms_a, norms_b) / np.minimum(norms_a, norms_b)).max()),
    )
