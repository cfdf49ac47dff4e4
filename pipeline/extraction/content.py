"""What a split amounts to, once its samples are known: the rows that it has for any encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from ...arrays import SampleIds, Targets
from ...id_arrays import AnyIds, sample_array
from ...stores.store import FailedSample
from ..datasets.base import Split
from ..specs import DatasetSpec, samples_digest


class Called(Sequence[str]):
    """What samples are called, in order; each name is made when it is asked for.

    Parameters
    ----------
    rows : int
        How many there are.
    name_of : callable
        Returns what a row's sample is called.
    """

    def __init__(self, rows: int, name_of: Callable[[int], str]) -> None:
        self._rows = rows
        self._name_of = name_of

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        """Return the name of a row, or those of a slice."""
        rows = range(self._rows)[row]
        return [self._name_of(r) for r in rows] if isinstance(rows, range) else self._name_of(rows)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, from first row to last."""
        return map(self._name_of, range(self._rows))


@dataclass(frozen=True)
class Content:
    """The rows of a split, and its identity.

    Parameters
    ----------
    spec : DatasetSpec
    ids : ndarray, uint8 [n, 32]
        Sample ids, a row each.
    labels : ndarray, int64 [n] or uint8 [n, C]
    failed : list of FailedSample
        Samples without a row.
    name_of : callable
        Returns what a row's sample is called.
    """

    spec: DatasetSpec
    ids: SampleIds
    labels: Targets
    failed: list[FailedSample]
    name_of: Callable[[int], str]

    @property
    def names(self) -> Called:
        """What the sample of each row is called."""
        return Called(len(self.ids), self.name_of)


def content_of(split: Split, ids: Sequence[bytes | None] | SampleIds, failures: Mapping[int, FailedSample]) -> Content:
    """Leave out the samples that failed; describe the rest.

    Parameters
    ----------
    split : Split
    ids : sequence of bytes or None, or ndarray, uint8 [n, 32]
        The sample id of every sample; of those that failed it may be anything.
    failures : mapping of int to FailedSample
        By row of the split.
    """
    rows = np.delete(np.arange(len(split)), sorted(failures)) if failures else None
    if isinstance(ids, np.ndarray):
        kept = ids if rows is None else ids[rows]
    else:
        kept = sample_array([i for row, i in enumerate(ids) if i is not None and row not in failures])
    labels = split.labels if rows is None else split.labels[rows]
    failed = [f for _, f in sorted(failures.items())]
    spec = spec_of(split, kept, labels, failed)
    return Content(spec, kept, labels, failed, lambda at: split.describe(at if rows is None else int(rows[at])))


def spec_of(split: Split, ids: AnyIds, labels: Targets, failed: Sequence[FailedSample] = ()) -> DatasetSpec:
    """Return the identity of the rows of a split."""
    return DatasetSpec(
        samples=samples_digest(ids, labels),
        rows=len(ids),
        classes=split.classes,
        split=split.name,
        multilabel=labels.ndim == 2,
        failed=tuple(sorted(f.sample or "" for f in failed)),
    )


def names_of(split: Split) -> Called:
    """Return what every sample of a split is called."""
    return Called(len(split), split.describe)
