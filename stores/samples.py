"""The samples of a set as people look at them: a row each, with id, name and label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from ..arrays import SampleIds, Targets
from ..notebook import data_frame, html_table

if TYPE_CHECKING:
    import pandas

_MOST_SHOWN = 50


class Sample(NamedTuple):
    """The sample of one row.

    Parameters
    ----------
    id : str
        Sample id, 64 hexadecimal digits.
    name : str or None
        Its path within the data set, or ``row 17``; None if the store does not have it.
    label : str, or tuple of str
        Its class; of multi-label data any number of them.
    """

    id: str
    name: str | None
    label: str | tuple[str, ...]

    @property
    def label_text(self) -> str:
        """The label, or the labels joined as a table of a data set joins them: ``a|b``."""
        return self.label if isinstance(self.label, str) else "|".join(self.label)


class Samples(Sequence[Sample]):
    """Samples in the order of their rows; each is put together when it is asked for.

    Parameters
    ----------
    ids : ndarray, uint8 [n, 32]
    labels : ndarray, int64 [n] or uint8 [n, C]
    classes : sequence of str
    names : sequence of str, or None
    """

    def __init__(self, ids: SampleIds, labels: Targets, classes: Sequence[str], names: Sequence[str] | None) -> None:
        self.has_names = names is not None
        self._ids = ids
        self._labels = labels
        self._classes = classes
        self._names = names

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, row: int) -> Sample: ...
    @overload
    def __getitem__(self, row: slice) -> Samples: ...
    def __getitem__(self, row: int | slice) -> Sample | Samples:
        """Return the sample of a row, or the samples of a slice."""
        if isinstance(row, slice):
            names = None if self._names is None else self._names[row]
            return Samples(self._ids[row], self._labels[row], self._classes, names)
        found, label = self._ids[row].tobytes().hex(), self._labels[row]
        name = None if self._names is None else self._names[row]
        if self._labels.ndim == 2:
            return Sample(found, name, tuple(self._classes[i] for i in np.flatnonzero(label).tolist()))
        return Sample(found, name, self._classes[int(label)])

    def __iter__(self) -> Iterator[Sample]:
        """Iterate over the samples, from first row to last."""
        return (self[row] for row in range(len(self)))

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with the columns id, name and label, a row each.

        Raises
        ------
        NotFound
            If pandas is not installed.
        """
        return data_frame(list(self), columns=list(Sample._fields))

    def __repr__(self) -> str:
        """Say how many there are."""
        return f"<Samples: {len(self):,}{'' if self.has_names else ', without names'}>"

    def _repr_html_(self) -> str:
        shown = [[s.id[:12], s.name, s.label_text] for s in self[:_MOST_SHOWN]]
        return html_table(repr(self)[1:-1], list(Sample._fields), shown)
