"""The data set protocol: ordered samples with labels, read as bytes and decoded into images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from ...arrays import Targets
from ...progress import Reporter

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 178_956_970
"""More pixels than this no image may have, neither in its file nor resized: twice PIL's own default, its limit too."""

ALL = "all"
"""Name of the one split of a data set that has none."""


UNLABELLED = "unlabelled"
"""Name of the one split of images without labels: it has no classes, and its labels are -1."""


class Split(Protocol):
    """One part of a data set: samples in a fixed order that does not depend on the file system.

    Attributes
    ----------
    name : str
        ``train``, ``test``, ``val`` … or ``all``.
    classes : tuple of str
        Class names, the same for every split of a data set; none of unlabelled data.
    labels : ndarray, int64 [n] or uint8 [n, C]
        Index into `classes`, or one 0/1 flag per class for multi-label data; -1 of unlabelled data.
    sources : sequence of Path
        Every file on disk that the samples and labels come from. Statting them tells whether anything changed.
    """

    @property
    def name(self) -> str: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> Targets: ...
    @property
    def sources(self) -> Sequence[Path]: ...

    def __len__(self) -> int: ...

    def describe(self, index: int) -> str:
        """Return what people call sample `index`: a relative path, or ``row 17``."""
        ...

    def path(self, index: int) -> Path | None:
        """Return the file whose whole content is sample `index`; None where samples are rows of an array."""
        ...

    def read(self, index: int) -> bytes:
        """Return the raw bytes whose sha256 is the sample id. Called from several threads at once.

        Raises OSError, or `UndecodableImage` if a library that decodes by itself gives no image.
        """
        ...

    def decode(self, raw: bytes) -> Image.Image:
        """Turn what `read` returned into an image; raise `UndecodableImage` where that fails. Thread-safe.

        If it is a function of a module, images can be decoded in other processes.
        """
        ...


class Place(NamedTuple):
    """Where the bytes of a sample lie that are not a whole local file.

    Parameters
    ----------
    name : str
        Of these bytes alone: ``/data/train-000.tar#1536``, ``s3://bucket/photos/cat/1.jpg``.
    stamp : str
        Changes if these bytes do: of the file or object that holds them.
    sure : bool
        Whether the storage vouches for that, as a bucket does with its ETags. A few of the others are hashed again.
    """

    name: str
    stamp: str
    sure: bool = False


@runtime_checkable
class Placed(Protocol):
    """A split whose samples are parts of files, or objects elsewhere, and which knows whether they changed."""

    def place(self, index: int) -> Place | None:
        """Return where sample `index` lies; None if nothing tells a change, so that it has to be read again.

        Called once for every sample whose `path` is None. It asks neither the disk nor the network.
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """A data set that has to look through what may be large or far away before its splits are known."""

    def prepare(self, reporter: Reporter) -> None:
        """Look through it, and report how far that is; what asks for a split first does the same silently."""
        ...


@runtime_checkable
class Advising(Protocol):
    """A split that knows what may be wrong if none of its samples can be read."""

    def advice(self) -> str:
        """Return the likely cause and what to do, as sentences; empty if there is none to be seen."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A data set that tells how it was read."""

    def notes(self) -> Sequence[str]:
        """Return how the data were read and what was left out, a sentence each.

        They are complete when the splits that are used have been asked for.
        """
        ...


@runtime_checkable
class Dataset(Protocol):
    """A data set: a name and its splits.

    Attributes
    ----------
    name : str
        As people name it on the command line, with an absolute path where there is one.
    splits : tuple of str
        Names of the splits that there are, ``train`` first where it exists.
    """

    @property
    def name(self) -> str: ...
    @property
    def splits(self) -> Sequence[str]: ...

    def split(self, name: str) -> Split:
        """Return one split; raise `NotFound`, naming those that exist, where there is none of that name."""
        ...


class UndecodableImage(Exception):
    """Raised by `Split.decode` for bytes that are no image, or only part of one. The message is one line."""


class TooManyPixels(UndecodableImage):
    """Raised for an image that is refused for its size alone; with another limit it could be decoded."""
