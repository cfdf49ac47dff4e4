"""Samples that cannot be used: collected, so that they can be named all together, and judged."""

from __future__ import annotations

from collections.abc import Callable

from ...amounts import be
from ...errors import BadInput
from ...stores.store import FailedSample
from ..datasets.base import Advising, Split
from ..encoders.embedding import advice_on_all, named_failures

_MANY = 1000
"""This many failures above what is allowed end a run at once; fewer are collected, to be named all together."""


class Failures:
    """The samples of one split that cannot be used.

    Parameters
    ----------
    split : Split
    tolerated : int
        How many may be.
    tell : callable
        Is called for every one.

    Attributes
    ----------
    samples : dict of int to FailedSample
        By row of the split.
    undecodable : dict of bytes to str
        Why, by sample id.
    """

    def __init__(self, split: Split, tolerated: int, tell: Callable[[], None]) -> None:
        self.samples: dict[int, FailedSample] = {}
        self.undecodable: dict[bytes, str] = {}
        self._split = split
        self._tolerated = tolerated
        self._tell = tell

    def __len__(self) -> int:
        return len(self.samples)

    def add(self, row: int, sample_id: bytes | None, error: str) -> None:
        """Take one in; its id is None where it could not be read."""
        if sample_id is not None:
            self.undecodable[sample_id] = error
        if row not in self.samples:
            name = self._split.describe(row)
            self.samples[row] = FailedSample(name=name, sample=sample_id.hex() if sample_id else None, error=error)
            self._tell()

    def check(self, usable: int, *, early: bool = False) -> None:
        """Raise if there are more than are tolerated; `early`, while more may follow, only if there are very many.

        Raises
        ------
        BadInput
            It names them.
        """
        most = self._tolerated + (_MANY if early else 0)
        if len(self) == len(self._split) or (len(self) > most and not usable):
            raise self._nothing_usable()
        if len(self) > most:
            raise self._too_many()

    def _too_many(self) -> BadInput:
        named = named_failures([(f.name, f.error) for _, f in sorted(self.samples.items())])
        return BadInput(
            f"{len(self)} of {len(self._split)} samples of split {self._split.name!r} cannot be used; "
            f"{self._tolerated} {be(self._tolerated)} tolerated:\n" + "\n".join(named),
            hint=f"Mend or remove them, or go on without them: --max-bad {len(self)}. What was encoded is kept.",
            key=self._split.name,
            expected=self._tolerated,
            found=len(self),
        )

    def _nothing_usable(self) -> BadInput:
        """Return the error for a split of which no sample can be used: a matter of the request, not of some images."""
        failed = [(f.name, f.error) for _, f in sorted(self.samples.items())]
        which = "None" if len(failed) == len(self._split) else f"None of the first {len(failed)}"
        advice = self._split.advice() if isinstance(self._split, Advising) else ""
        return BadInput(
            f"{which} of the {len(self._split)} samples of split {self._split.name!r} can be used:\n"
            + "\n".join(named_failures(failed, most=5)),
            hint=advice_on_all(failed, advice),
            key=self._split.name,
            found=len(failed),
        )
