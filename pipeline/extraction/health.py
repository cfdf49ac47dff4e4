"""What is odd about the data of a set, found when it is sealed and recorded in its provenance.

Each kind of oddity is a `Finding`, and a field of `DataHealth`:

- Images that look alike to an encoder: different ones of a split that have the same embedding, to the last bit. If many
  do, they reached the encoder as one picture: blank, clipped to white, transparent on black, or damaged in one way. A
  score on them means little.
- What images looked like when they were decoded: transparency and rotations that get lost, one colour, sizes. Known of
  those only that the run decoded.
- Images that stand in the split several times, perhaps with several labels.
- Classes that are empty or very unequal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, NonNegativeInt, ValidationError

from ...arrays import Targets
from ...stores.store import RowIndex
from .content import Content

LARGEST_SHARE = 0.01
"""A remark is made if one embedding belongs to more than this share of the images of a split …"""
SHARED_SHARE = 0.5
"""… or if more than this share have an embedding that another image has too."""

UNEQUAL = 10
"""A remark is made if the largest class has so many times the rows of the smallest."""

_BLOCK_ROWS = 4096
_MOST_NAMED = 4


class Finding(Protocol):
    """One kind of oddity: how much of it there is."""

    @property
    def example(self) -> tuple[int, ...]:
        """Rows of the set that show it."""

    def remarks(self, split: str, names: Sequence[str] = ()) -> list[str]:
        """Return what is to be said of it, a line each; nothing if nothing is unusual.

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

    def remarks(self, split: str, names: Sequence[str] = ()) -> list[str]:
        """Return a line if one embedding is frequent, or many are shared; see `Finding.remarks`.

        Examples
        --------
        >>> SharedEmbeddings(of=100, shared=40, largest=40).remarks("test")
        ["40 of 100 different images of split 'test' have one and the same embedding. Are they blank, ...?"]
        >>> SharedEmbeddings(of=100, shared=2, largest=1).remarks("test")
        []
        """
        such = f", such as {' and '.join(names)}" if names else ""
        ask = "Are they blank, transparent or clipped?"
        rest = f" In all, {self.shared:,} share theirs." if self.shared > self.largest else ""
        if self.largest > max(1, LARGEST_SHARE * self.of):
            return [
                f"{self.largest:,} of {self.of:,} different images of split {split!r} have one and the same "
                f"embedding{such}.{rest} {ask}"
            ]
        if self.shared > SHARED_SHARE * self.of:
            return [
                f"{self.shared:,} of {self.of:,} different images of split {split!r} share their embedding with "
                f"another{such}. {ask}"
            ]
        return []


class DecodedImages(BaseModel):
    """What images of a split looked like, of those that the run decoded which sealed its set.

    Parameters
    ----------
    of : int
        Images that were looked at: each content once, and not those whose rows the store had.
    transparent : int
        Images with pixels that are not opaque.
    background : str or None
        What they were laid on; None if the encoder's conversion dropped the transparency.
    rotated : int
        Images whose EXIF data ask for a rotation or a mirroring.
    plain : int
        Images of which the encoder got a single colour.
    input_side : int
        The shorter side of the encoder's input, in pixels; 0 if it is not known.
    upscaled : int
        Images whose shorter side has fewer pixels than that.
    smallest, median, largest : (int, int)
        Width and height, by the number of pixels.
    examples : dict of str to tuple of str
        By kind (``transparent``, ``rotated``, ``plain``), what one or two of them are called.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    of: NonNegativeInt
    transparent: NonNegativeInt = 0
    background: str | None = None
    rotated: NonNegativeInt = 0
    plain: NonNegativeInt = 0
    input_side: NonNegativeInt = 0
    upscaled: NonNegativeInt = 0
    smallest: tuple[NonNegativeInt, NonNegativeInt]
    median: tuple[NonNegativeInt, NonNegativeInt]
    largest: tuple[NonNegativeInt, NonNegativeInt]
    examples: dict[str, tuple[str, ...]] = {}

    @property
    def example(self) -> tuple[int, ...]:
        """No rows: the images are named."""
        return ()

    def remarks(self, split: str, names: Sequence[str] = ()) -> list[str]:
        """Return a line for everything that is unusual; see `Finding.remarks`.

        Examples
        --------
        >>> seen = DecodedImages(of=9, rotated=2, smallest=(8, 8), median=(8, 8), largest=(8, 8))
        >>> seen.remarks("test")
        ["2 of the 9 images that this run decoded (split 'test') have an EXIF rotation, which PIL does not ..."]
        """
        lines = []
        if self.transparent and self.background is None:
            lines.append(
                self._line("transparent", self.transparent, split, "have transparent pixels")
                + " The conversion to RGB drops that, and shows the colours below: --background white (or black) lays "
                "them on it."
            )
        if self.rotated:
            lines.append(
                self._line("rotated", self.rotated, split, "have an EXIF rotation, which PIL does not apply by itself")
            )
        if self.plain > max(1, LARGEST_SHARE * self.of):
            lines.append(self._line("plain", self.plain, split, "are of one colour for the encoder"))
        if self.upscaled > LARGEST_SHARE * self.of and self.smallest != self.largest:
            what = f"are smaller than the encoder's input ({self.input_side} px) and are scaled up"
            sizes = ", ".join(
                f"{name} {size[0]} x {size[1]}"
                for name, size in (("smallest", self.smallest), ("median", self.median), ("largest", self.largest))
            )
            lines.append(f"{self._line('upscaled', self.upscaled, split, what)[:-1]} ({sizes}).")
        return lines

    def _line(self, kind: str, n: int, split: str, what: str) -> str:
        such = f", such as {' and '.join(self.examples[kind])}" if self.examples.get(kind) else ""
        return f"{n:,} of the {self.of:,} images that this run decoded (split {split!r}) {what}{such}."


class RepeatedImages(BaseModel):
    """Rows of a set whose image another row has too, to the last byte.

    Parameters
    ----------
    of : int
        Rows.
    repeated : int
        Rows whose image an earlier row has.
    contradicted : int
        Rows whose image another row has with another label.
    example : tuple of int
        Two rows with one image, with different labels if there are such; empty if nothing is repeated.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    of: NonNegativeInt
    repeated: NonNegativeInt = 0
    contradicted: NonNegativeInt = 0
    example: tuple[NonNegativeInt, ...] = ()

    def remarks(self, split: str, names: Sequence[str] = ()) -> list[str]:
        """Return a line if any image is repeated; see `Finding.remarks`.

        Examples
        --------
        >>> RepeatedImages(of=100, repeated=3, contradicted=2).remarks("train")
        ["3 of 100 rows of split 'train' repeat the image of an earlier row; 2 have an image that has several labels."]
        """
        if not self.repeated:
            return []
        such = f", such as {' and '.join(names)}" if names else ""
        several = f"; {self.contradicted:,} have an image that has several labels" if self.contradicted else ""
        what = f"rows of split {split!r} repeat the image of an earlier row"
        return [f"{self.repeated:,} of {self.of:,} {what}{several}{such}."]


class ClassSizes(BaseModel):
    """How many rows the classes of a set have.

    Parameters
    ----------
    of : int
        Classes.
    empty : int
        Those without a row.
    smallest, largest : int
        Rows of a class, of those that have some.
    missing : tuple of str
        Names of some that are empty.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    of: NonNegativeInt
    empty: NonNegativeInt = 0
    smallest: NonNegativeInt = 0
    largest: NonNegativeInt = 0
    missing: tuple[str, ...] = ()

    @property
    def example(self) -> tuple[int, ...]:
        """No rows: classes are named."""
        return ()

    def remarks(self, split: str, names: Sequence[str] = ()) -> list[str]:
        """Return a line if classes are empty or very unequal; see `Finding.remarks`.

        Examples
        --------
        >>> ClassSizes(of=3, empty=1, smallest=2, largest=40, missing=("owl",)).remarks("test")
        ["1 of 3 classes has no row in split 'test': owl. The others have 2 to 40."]
        >>> ClassSizes(of=3, smallest=30, largest=40).remarks("test")
        []
        """
        unequal = self.largest >= UNEQUAL * self.smallest
        if self.empty:
            named = (
                f": {', '.join(self.missing)}{' …' if self.empty > len(self.missing) else ''}" if self.missing else ""
            )
            others = f" The others have {self.smallest:,} to {self.largest:,}." if unequal else ""
            has = "has" if self.empty == 1 else "have"
            return [f"{self.empty:,} of {self.of:,} classes {has} no row in split {split!r}{named}.{others}"]
        if unequal:
            return [f"The {self.of:,} classes of split {split!r} have {self.smallest:,} to {self.largest:,} rows."]
        return []


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
    rows: dict[bytes, list[int]] = {}
    for row, sample_id in enumerate(ids):
        rows.setdefault(sample_id, []).append(row)
    groups = [group for group in rows.values() if len(group) > 1]
    differing = [group for group in groups if (labels[group] != labels[group[0]]).any()]
    example: tuple[int, ...] = ()
    if differing:
        first = differing[0]
        other = next(row for row in first if (labels[row] != labels[first[0]]).any())
        example = first[0], other
    elif groups:
        example = groups[0][0], groups[0][1]
    return RepeatedImages(
        of=len(ids),
        repeated=len(ids) - len(rows),
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
    counts = labels.sum(axis=0, dtype=np.int64) if labels.ndim == 2 else np.bincount(labels, minlength=len(classes))
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
