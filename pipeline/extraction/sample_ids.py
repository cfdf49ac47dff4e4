"""Sample ids of a split: from the sample index, else by reading and hashing files in threads.

Threads rather than processes: reading, hashing, decoding and resizing all leave Python's lock, the store's index is
shared without copies, and Ctrl-C ends everything at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from ...errors import CryoprobeError
from ...parallel import ordered_map
from ...stores.local.sample_index import SampleIndex, Stamp, now_ns, stamp
from ..datasets.base import Split, UndecodableImage
from ..passing import patiently


@dataclass
class Identified:
    """Sample ids of some rows of a split.

    Parameters
    ----------
    ids : list of bytes or None
        32 bytes each; None for a sample that could not be read.
    errors : dict of int to str
        Why, by position in `ids`.
    """

    ids: list[bytes | None]
    errors: dict[int, str] = field(default_factory=dict)


class Identifier:
    """Finds sample ids: from the sample index by a stat call, else by reading and hashing.

    Parameters
    ----------
    split : Split
    index : SampleIndex
    pool : Executor
        Reads files. `identify` may run in another executor, but not in this one.
    """

    def __init__(self, split: Split, index: SampleIndex, pool: Executor) -> None:
        self._split = split
        self._index = index
        self._pool = pool

    def identify(self, rows: Sequence[int]) -> Identified:
        """Return the sample ids of `rows`; raise `Unavailable` if the machine does not let one be read."""
        paths = [self._split.path(i) for i in rows]
        files = [p for p in paths if p is not None]
        known = iter(self._index.lookup(files))
        found = Identified([None if p is None else next(known) for p in paths])
        unknown = [position for position, sample_id in enumerate(found.ids) if sample_id is None]
        started = now_ns()
        entries = []
        read = ordered_map(self._pool, self._read, [rows[position] for position in unknown], window=64)
        for position, (sample_id, stamp_, error) in zip(unknown, read, strict=True):
            path = paths[position]
            found.ids[position] = sample_id
            if error is not None:
                found.errors[position] = error
            elif path is not None and stamp_ is not None and sample_id is not None:
                entries.append((path, stamp_, sample_id))
        self._index.record(entries, started)
        return found

    def _read(self, row: int) -> tuple[bytes | None, Stamp | None, str | None]:
        path = self._split.path(row)

        def read() -> tuple[bytes, Stamp | None]:
            before = None if path is None else stamp(path)
            return hashlib.sha256(self._split.read(row)).digest(), before

        try:
            return *patiently(read, self._split.describe(row)), None
        except CryoprobeError:  # some of them are OSErrors
            raise
        except OSError as e:
            return None, None, f"cannot be read: {e.strerror or e}"
        except UndecodableImage as e:
            return None, None, str(e)
