"""What is odd about the data of a set, found when it is sealed and recorded in its provenance; see `findings`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from ...arrays import Array, SampleIds, Targets
from ...id_arrays import AnyIds, Repeats, repeats, sample_array
from ...parallel import each, within_memory
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


def examine(
    index: RowIndex, content: Content, decoded: DecodedImages | None = None, goes_on: Callable[[], None] = lambda: None
) -> DataHealth:
    """Look for all that can be odd about the rows of a set; embeddings are read block by block.

    Parameters
    ----------
    index : RowIndex
        Has a row for each sample id.
    content : Content
        The rows of the split.
    decoded : DecodedImages, optional
        What was seen of the images.
    goes_on : callable
        Is called after each block.
    """
    again = repeats(content.ids)
    return DataHealth(
        shared_embeddings=find_shared(index, content.ids, again, goes_on),
        decoded_images=decoded,
        repeated_images=find_repeated(again, content.labels),
        class_sizes=sizes_of_classes(content.labels, content.spec.classes),
    )


def find_repeated(again: Repeats, labels: Targets) -> RepeatedImages:
    """Count the rows that repeat an image.

    Examples
    --------
    >>> find_repeated(repeats([b"a" * 32, b"b" * 32, b"a" * 32]), np.array([0, 0, 1]))
    RepeatedImages(of=3, repeated=1, contradicted=2, example=(0, 2))
    """
    rows, first = again
    differ = labels[rows] != labels[first]
    differ = differ if differ.ndim == 1 else differ.any(axis=1)
    groups = np.unique(first[differ])  # the first rows of images that have several labels
    among = np.isin(first, groups)
    example: tuple[int, ...] = ()
    if len(groups):
        one = first[np.argmax(among)]
        example = int(one), int(rows[np.argmax(differ & (first == one))])
    elif len(rows):
        example = int(first[0]), int(rows[0])
    return RepeatedImages(
        of=len(labels),
        repeated=len(rows),
        contradicted=len(groups) + int(among.sum()),
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


def find_shared(
    index: RowIndex, ids: AnyIds, again: Repeats, goes_on: Callable[[], None] = lambda: None
) -> SharedEmbeddings:
    """Compare the embeddings of a set's rows, read some blocks at a time; in memory are 16 bytes a row.

    Parameters
    ----------
    index : RowIndex
        Has a row for each id.
    ids : sequence of bytes, or ndarray, uint8 [n, 32]
        Sample ids, in the order of the set; an image that occurs twice counts once.
    again : Repeats
        Its rows that repeat an image.
    goes_on : callable
        Is called after each block.
    """
    samples = sample_array(ids)
    distinct = np.ones(len(samples), bool)
    distinct[again.rows] = False
    hashes = np.empty(np.count_nonzero(distinct), np.uint64)
    starts = range(0, len(samples), _BLOCK_ROWS)
    blocks = (samples[start : start + _BLOCK_ROWS][distinct[start : start + _BLOCK_ROWS]] for start in starts)

    def gather(block: SampleIds) -> Array:
        return index.gather(block).embeddings

    at = 0
    at_once = within_memory([4 * (index.dim or 1) * _BLOCK_ROWS])
    for rows in each(gather, (block for block in blocks if len(block)), at_once, ahead=at_once):
        digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
        hashes[at : at + len(rows)] = np.frombuffer(b"".join(digests), np.uint64)
        at += len(rows)
        goes_on()
    ordered = np.sort(hashes)
    alike, others = np.unique(ordered[1:][ordered[1:] == ordered[:-1]], return_counts=True)
    example: tuple[int, ...] = ()
    if len(alike):
        places = np.flatnonzero(hashes == alike[np.argmax(others)])[:2]
        example = tuple(np.flatnonzero(distinct)[places].tolist())
    return SharedEmbeddings(
        of=len(hashes),
        shared=int((others + 1).sum()),
        largest=int(others.max(initial=0)) + 1 if len(hashes) else 0,
        example=example,
    )
