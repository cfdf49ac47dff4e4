"""What is odd about the data of a set, found when it is sealed and recorded in its provenance; see `findings`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from ...arrays import Targets
from ...stores.store import RowIndex
from .content import Content
from .findings import ClassSizes, DecodedImages, Finding, RepeatedImages, SharedEmbeddings

_BLOCK_ROWS = 4096
_MOST_NAMED = 4


class DataHealth(BaseModel):
    """All findings on the data of a set. Its JSON form is part of the set's provenance.

    Parameters
    ----------
    shared_embeddings : SharedEmbeddings
    decoded_images : DecodedImages or None
        None if the run that sealed the set decoded nothing, or did not look.
    repeated_images : RepeatedImages or None
    class_sizes : ClassSizes or None
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    shared_embeddings: SharedEmbeddings
    decoded_images: DecodedImages | None = None
    repeated_images: RepeatedImages | None = None
    class_sizes: ClassSizes | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Each of them."""
        found = (self.shared_embeddings, self.decoded_images, self.repeated_images, self.class_sizes)
        return tuple(finding for finding in found if finding is not None)

    @property
    def document(self) -> dict[str, JsonValue]:
        """The fields of a set's provenance that hold it."""
        return self.model_dump(mode="json", exclude_none=True)

    def remarks(self, split: str, name_of: Callable[[int], str]) -> tuple[str, ...]:
        """Return a line for everything that is unusual.

        Parameters
        ----------
        split : str
        name_of : callable
            From a row of the set to what its image is called.
        """
        return tuple(line for f in self.findings for line in f.remarks(split, [name_of(row) for row in f.example]))

    @classmethod
    def recorded(cls, provenance: Mapping[str, object], rows: int) -> DataHealth | None:
        """Read what a set's provenance holds; None if it lacks a finding, or names rows that the set does not have."""
        try:
            found = cls.model_validate(provenance, strict=False)
        except ValidationError:
            return None
        return found if all(row < rows for finding in found.findings for row in finding.example) else None


def examine(index: RowIndex, content: Content, decoded: DecodedImages | None = None) -> DataHealth:
    """Look for all that can be odd about the rows of a set; embeddings are read block by block.

    Parameters
    ----------
    index : RowIndex
        Has a row for each sample id.
    content : Content
        The rows of the split.
    decoded : DecodedImages, optional
        What was seen of the images.
    """
    return DataHealth(
        shared_embeddings=find_shared(index, content.ids),
        decoded_images=decoded,
        repeated_images=find_repeated(content.ids, content.labels),
        class_sizes=sizes_of_classes(content.labels, content.spec.classes),
    )


def find_repeated(ids: Sequence[bytes], labels: Targets) -> RepeatedImages:
    """Count the rows that repeat an image.

    Examples
    --------
    >>> find_repeated([b"a", b"b", b"a"], np.array([0, 0, 1]))
    RepeatedImages(of=3, repeated=1, contradicted=2, example=(0, 2))
    """
    first: dict[bytes, int] = {}
    again: dict[bytes, list[int]] = {}  # few as a rule: a list for every image would be large
    for row, sample_id in enumerate(ids):
        if (before := first.setdefault(sample_id, row)) != row:
            again.setdefault(sample_id, [before]).append(row)
    groups = list(again.values())
    differing = [group for group in groups if (labels[group] != labels[group[0]]).any()]
    example: tuple[int, ...] = ()
    if differing:
        one, *others = differing[0]
        example = one, next(row for row in others if (labels[row] != labels[one]).any())
    elif groups:
        example = groups[0][0], groups[0][1]
    return RepeatedImages(
        of=len(ids),
        repeated=len(ids) - len(first),
        contradicted=sum(map(len, differing)),
        example=example,
    )


def sizes_of_classes(labels: Targets, classes: Sequence[str]) -> ClassSizes:
    """Count the rows of each class.

    Examples
    --------
    >>> sizes_of_classes(np.array([0, 0, 2]), ["cat", "dog", "owl"])
    ClassSizes(of=3, empty=1, smallest=1, largest=2, missing=('dog',))
    """
    if labels.ndim == 2:
        counts = labels.sum(axis=0, dtype=np.int64)
    else:
        counts = np.bincount(labels[labels >= 0], minlength=len(classes))  # -1: without a label
    there = counts[counts > 0]
    missing = [classes[i] for i in np.flatnonzero(counts == 0)[:_MOST_NAMED]]
    return ClassSizes(
        of=len(classes),
        empty=int((counts == 0).sum()),
        smallest=int(there.min(initial=there.max(initial=0))),
        largest=int(there.max(initial=0)),
        missing=tuple(missing),
    )


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
