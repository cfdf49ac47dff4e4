"""What several processes that extract one split tell each other: which samples its rows are, and that it is sealed.

    shared/<work>/<start>-<end>.<token>.json    sample ids of some rows, told by who read them
    shared/<work>/sealed-<target>.json          which sets were made of them

It is advice, as claims are: without it, everybody reads all samples. Who seals a set on the word of others looks for
what contradicts it first. `gc` deletes it when it is old.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...checksummed import dump_document
from ...errors import CryoprobeError
from ...id_arrays import SAMPLE_BYTES
from ...parallel import each
from ..backends.backend import Backend
from ..format.documents import read_document

SHARED = "shared/"

_WHAT, _HINT = "record of shared work", "Delete it: what it says is found out again."


@dataclass(frozen=True)
class ToldRows:
    """Sample ids of some rows in succession.

    Parameters
    ----------
    start : int
        The first row.
    ids : ndarray, uint8 [n, 32]
        Zeros for a sample that could not be read.
    marks : ndarray, int64 [n]
        What would be another number if a sample were another, as far as that is known without reading it.
    at : int
        When they began to be read, in nanoseconds since 1970, by the clock of who read them.
    is_fresh : bool
        Whether this was told after the process that takes it in had begun.
    """

    start: int
    ids: npt.NDArray[np.uint8]
    marks: npt.NDArray[np.int64]
    at: int
    is_fresh: bool = True

    @property
    def end(self) -> int:
        """The row after the last."""
        return self.start + len(self.ids)


class SharedWork:
    """What is told of one split in one store. One thread at a time.

    Parameters
    ----------
    backend : Backend
    work : str
        Names the split, for all who extract it.
    target : str
        Names what is made of it.
    afresh : bool
        Take in nothing that was told before now.

    Attributes
    ----------
    name : str
        That of the split.
    was_sealed : bool
        Whether sets were sealed before this process began, perhaps of what has changed since then.
    """

    def __init__(self, backend: Backend, work: str, target: str, *, afresh: bool = False) -> None:
        self.name = work
        self._backend = backend
        self._folder = f"{SHARED}{work}/"
        self._sealed_key = f"{self._folder}sealed-{target}.json"
        self._seen: set[str] = set()
        self._is_first_look = True
        self._sealed_before = self._read_sealed()
        self.was_sealed = self._sealed_before is not None and not afresh
        if afresh:
            self._seen.update(backend.keys(self._folder))
            self._is_first_look = False

    def tell(self, rows: ToldRows) -> None:
        """Let the others know the sample ids of some rows."""
        key = f"{self._folder}{rows.start}-{rows.end}.{secrets.token_hex(6)}.json"
        content = {
            "at": rows.at // 1000,  # JSON has no larger numbers
            "ids": base64.b64encode(rows.ids.tobytes()).decode(),
            "marks": base64.b64encode(rows.marks.astype("<i8").tobytes()).decode(),
            "start": rows.start,
        }
        self._seen.add(key)
        self._backend.put(key, dump_document(content))

    def told(self) -> Iterable[ToldRows]:
        """Return what others have told since the last look; what is damaged is as good as not told."""
        new = [
            key
            for key in self._backend.keys(self._folder)
            if key not in self._seen and not key.startswith(f"{self._folder}sealed-")
        ]
        self._seen.update(new)
        is_fresh, self._is_first_look = not self._is_first_look, False
        found = each(lambda key: self._read(key, is_fresh), new)
        return (rows for rows in found if rows is not None)

    def tell_sealed(self, sets: Mapping[str, str]) -> None:
        """Let the others know which sets are sealed, by tap."""
        document = {"sets": dict(sets), "token": secrets.token_hex(6)}
        self._backend.put(self._sealed_key, dump_document(document))

    def sealed(self) -> dict[str, str] | None:
        """Return which sets were sealed, by tap, since this process began; None if none were."""
        found = self._read_sealed()
        return None if found is None or found == self._sealed_before else dict(found["sets"])

    def _read_sealed(self) -> dict[str, dict[str, str]] | None:
        with suppress(CryoprobeError):
            return read_document(self._backend, self._sealed_key, _WHAT, _HINT)
        return None

    def _read(self, key: str, is_fresh: bool) -> ToldRows | None:
        with suppress(CryoprobeError, KeyError, TypeError, ValueError):
            content = read_document(self._backend, key, _WHAT, _HINT)
            ids = np.frombuffer(base64.b64decode(content["ids"]), np.uint8).reshape(-1, SAMPLE_BYTES)
            marks = np.frombuffer(base64.b64decode(content["marks"]), "<i8").astype(np.int64)
            if len(ids) == len(marks) and int(content["start"]) >= 0:
                return ToldRows(int(content["start"]), ids, marks, 1000 * int(content["at"]), is_fresh)
        return None
