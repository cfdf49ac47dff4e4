"""The kinds of oddity in the data of a set: how much of each there is, and what is said of it.

- `SharedEmbeddings`: different images that have the same embedding, to the last bit. If many do, they reached the
  encoder as one picture: blank, clipped to white, transparent on black, or damaged in one way. A score on them means
  little.
- `DecodedImages`: what images looked like when they were decoded: transparency and rotations that get lost, one colour,
  sizes. Known of those only that the run decoded.
- `RepeatedImages`: images that stand in the split several times, perhaps with several labels.
- `ClassSizes`: classes that are empty or very unequal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, NonNegativeInt

LARGEST_SHARE = 0.01
"""A remark is made if one embedding belongs to more than this share of the images of a split …"""
SHARED_SHARE = 0.5
"""… or if more than this share have an embedding that another image has too."""

UNEQUAL = 10
"""A remark is made if the largest class has so many times the rows of the smallest."""


_OF_ONE = {"are": "is", "have": "has"}
"""Verbs of one image."""


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
        ["2 of the 9 images decoded for split 'test' have an EXIF rotation, which PIL does not ..."]
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
        if n == 1:
            what = " ".join(_OF_ONE.get(word, word) for word in what.split(" "))
        which = f"{n:,} of the {self.of:,} images" if self.of > 1 else "The only image"
        return f"{which} decoded for split {split!r} {what}{such}."


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
        have = "has" if self.contradicted == 1 else "have"
        several = f"; {self.contradicted:,} {have} an image that has several labels" if self.contradicted else ""
        what = f"rows of split {split!r} {'repeats' if self.repeated == 1 else 'repeat'} the image of an earlier row"
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
        if not self.of:
            return []
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
