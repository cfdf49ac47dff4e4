"""What is odd about the data of a set, found when it is sealed and recorded in its provenance.

Each kind of oddity is a `Finding`, and a field of `DataHealth`. Today there is one: images that look alike to an
encoder. It counts how many different ones of a split have the same embedding, to the last bit. An encoder tells
different pictures apart. If many have one embedding, they reached it as one picture: blank, clipped to white,
transparent on black, or damaged in one way. A score on them means little.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from ...stores.store import RowIndex

LARGEST_SHARE = 0.01
"""A remark is made if one embedding belongs to more than this share of the images of a split …"""
SHARED_SHARE = 0.5
"""… or if more than this share have an embedding that another image has too."""

_BLOCK_ROWS = 4096


class Finding(Protocol):
    """One kind of oddity: how much of it there is."""

    @property
    def example(self) -> tuple[int, ...]:
        """Rows of the set that show it."""

    def remark(self, split: str, names: Sequence[str]) -> str | None:
        """Return what is to be said of it, in one line; None if it is nothing unusual.

        Parameters
        ----------
        split : str
        names : sequence of str
            What the images of `example` are called.
        """


class SharedEmbeddings(BaseModel):
    """How many different images of a set have the embedding of another one.

    Parameters
    ----------
    of : int
        Different images, by sample id.
    shared : int
        Those whose embedding another image has too.
    largest : int
        Most that have one embedding; 1 if each has its own.
    example : tuple of int
        Two rows of the set with that embedding; empty if each has its own.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    of: NonNegativeInt
    shared: NonNegativeInt
    largest: NonNegativeInt
    example: tuple[NonNegativeInt, ...] = ()

    def remark(self, split: str, names: Sequence[str]) -> str | None:
        """Return a line if one embedding is frequent, or many are shared; see `Finding.remark`.

        Examples
        --------
        >>> SharedEmbeddings(of=100, shared=40, largest=40).remark("test", [])
        "40 of 100 different images of split 'test' have one and the same embedding. Are they blank, ...?"
        >>> SharedEmbeddings(of=100, shared=2, largest=1).remark("test", []) is None
        True
        """
        such = f", such as {' and '.join(names)}" if names else ""
        ask = "Are they blank, transparent or clipped?"
        rest = f" In all, {self.shared:,} share theirs." if self.shared > self.largest else ""
        if self.largest > max(1, LARGEST_SHARE * self.of):
            return (
                f"{self.largest:,} of {self.of:,} different images of split {split!r} have one and the same "
                f"embedding{such}.{rest} {ask}"
            )
        if self.shared > SHARED_SHARE * self.of:
            return (
                f"{self.shared:,} of {self.of:,} different images of split {split!r} share their embedding with "
                f"another{such}. {ask}"
            )
        return None


class DataHealth(BaseModel):
    """All findings on the data of a set. Its JSON form is part of the set's provenance.

    Parameters
    ----------
    shared_embeddings : SharedEmbeddings
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    shared_embeddings: SharedEmbeddings

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Each of them."""
        return (self.shared_embeddings,)

    def remarks(self, split: str, name_of: Callable[[int], str]) -> tuple[str, ...]:
        """Return a line for each finding that is unusual.

        Parameters
        ----------
        split : str
        name_of : callable
            From a row of the set to what its image is called.
        """
        remarks = (f.remark(split, [name_of(row) for row in f.example]) for f in self.findings)
        return tuple(remark for remark in remarks if remark is not None)

    @classmethod
    def recorded(cls, provenance: Mapping[str, object], rows: int) -> DataHealth | None:
        """Read what a set's provenance holds; None if it lacks a finding, or names rows that the set does not have."""
        try:
            found = cls.model_validate(provenance, strict=False)
        except ValidationError:
            return None
        return found if all(row < rows for finding in found.findings for row in finding.example) else None


def examine(index: RowIndex, ids: Sequence[bytes]) -> DataHealth:
    """Look for all that can be odd about the rows of a set, read block by block.

    Parameters
    ----------
    index : RowIndex
        Has a row for each id.
    ids : sequence of bytes
        Sample ids, in the order of the set.
    """
    return DataHealth(shared_embeddings=find_shared(index, ids))


def find_shared(index: RowIndex, ids: Sequence[bytes]) -> SharedEmbeddings:
    """Compare the embeddings of a set's rows, read block by block.

    Parameters
    ----------
    index : RowIndex
        Has a row for each id.
    ids : sequence of bytes
        Sample ids, in the order of the set; an image that occurs twice counts once.
    """
    first: dict[bytes, int] = {}
    for row, sample_id in enumerate(ids):
        first.setdefault(sample_id, row)
    different = list(first)
    hashes = np.empty(len(different), np.uint64)
    for start in range(0, len(different), _BLOCK_ROWS):
        rows = index.gather(different[start : start + _BLOCK_ROWS]).embeddings
        digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
        hashes[start : start + len(rows)] = np.frombuffer(b"".join(digests), np.uint64)
    _, group, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    largest = int(counts.max(initial=0))
    alike = np.flatnonzero(group == int(np.argmax(counts)))[:2] if largest > 1 else ()
    return SharedEmbeddings(
        of=len(different),
        shared=int(counts[counts > 1].sum()),
        largest=largest,
        example=tuple(first[different[int(i)]] for i in alike),
    )
