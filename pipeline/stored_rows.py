"""Images whose rows a store has: they need not be encoded again to be predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import CryoprobeError
from ..stores.local.sample_index import SampleIndex
from ..stores.opening import open_store
from ..stores.store import RowIndex, Rows, Store
from .datasets.images import identified
from .passing import patiently


@dataclass(frozen=True)
class StoredRows:
    """The rows that a store has of some files, by one encoder at one or several taps.

    Parameters
    ----------
    indices : tuple of RowIndex
        One for each tap; none if nothing is looked up.
    samples : dict of Path to bytes
        Sample ids of the files that have a row at every tap.
    """

    indices: tuple[RowIndex, ...] = ()
    samples: dict[Path, bytes] = field(default_factory=dict)

    @classmethod
    def of(
        cls, store: str | Path | Store, encoder_ids: Sequence[str], files: Sequence[Path], workers: int
    ) -> StoredRows:
        """Look files up by their content: it is read, unless this machine knows it and it has not changed since."""
        opened = open_store(store)
        indices = tuple(opened.rows_of(encoder_id) for encoder_id in encoder_ids)
        if not all(map(len, indices)):
            return cls(indices)
        known = SampleIndex()
        try:
            ids = dict(zip(files, known.lookup([file.absolute() for file in files]), strict=True))
        finally:
            known.close()
        unknown = [file for file, sample in ids.items() if sample is None]
        with ThreadPoolExecutor(workers, thread_name_prefix="cryoprobe-hash") as pool:
            ids |= dict(zip(unknown, pool.map(_sample_id, unknown), strict=True))
        told = {file: sample for file, sample in ids.items() if sample is not None}
        there = np.logical_and.reduce([index.find(list(told.values())) >= 0 for index in indices])
        return cls(indices, {file: sample for (file, sample), is_in in zip(told.items(), there, strict=True) if is_in})

    def of_files(self, files: Sequence[Path]) -> list[Rows]:
        """Return the rows of files that have one, at each tap; at least one file."""
        ids = [self.samples[file] for file in files]
        return [index.gather(ids) for index in self.indices]


def _sample_id(file: Path) -> bytes | None:
    """Return the sample id of a file; None if it cannot be read, which is said when it is to be encoded."""
    try:
        return hashlib.sha256(identified(patiently(file.read_bytes, str(file)))).digest()
    except CryoprobeError:  # some of them are OSErrors
        raise
    except OSError:
        return None
