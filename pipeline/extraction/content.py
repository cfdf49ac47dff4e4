"""What a split amounts to, once its samples are known: the rows that it has for any encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...arrays import SampleIds, Targets
from ...stores.store import FailedSample
from ..datasets.base import Split
from ..specs import DatasetSpec, samples_digest


@dataclass(frozen=True)
class Content:
    """The rows of a split, and its identity.

    Parameters
    ----------
    spec : DatasetSpec
    ids : list of bytes
        Sample ids, a row each.
    labels : ndarray, int64 [n] or uint8 [n, C]
    failed : list of FailedSample
        Samples without a row.
    name_of : callable
        Returns what a row's sample is called.
    """

    spec: DatasetSpec
    ids: list[bytes]
    labels: Targets
    failed: list[FailedSample]
    name_of: Callable[[int], str]

    @cached_property
    def names(self) -> list[str]:
        """What the sample of each row is called."""
        return [self.name_of(row) for row in range(len(self.ids))]


def content_of(split: Split, ids: Sequence[bytes | None], failures: Mapping[int, FailedSample]) -> Content:
    """Leave out the samples that failed; describe the rest."""
    rows: Sequence[int] = range(len(split))
    if failures:
        rows = [row for row in rows if row not in failures]
    kept = [sample_id for row in rows if (sample_id := ids[row]) is not None]
    labels = split.labels[np.asarray(rows, np.int64)]
    failed = [f for _, f in sorted(failures.items())]
    return Content(
        spec_of(split, kept, labels, failed), kept, labels, failed, lambda position: split.describe(rows[position])
    )


def spec_of(
    split: Split, ids: Sequence[bytes] | SampleIds, labels: Targets, failed: Sequence[FailedSample] = ()
) -> DatasetSpec:
    """Return the identity of the rows of a split."""
    return DatasetSpec(
        samples=samples_digest(ids, labels),
        rows=len(ids),
        classes=split.classes,
        split=split.name,
        multilabel=labels.ndim == 2,
        failed=tuple(sorted(f.sample or "" for f in failed)),
    )


def names_of(split: Split) -> list[str]:
    """Return what every sample of a split is called."""
    return [split.describe(row) for row in range(len(split))]
