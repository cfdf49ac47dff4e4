"""`plain_images`: rows whose image is of one colour: blank, clipped, or damaged in one way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..notebook import Listing
from ..stores.feature_set import FeatureSet
from ..stores.opening import open_store
from ..stores.store import Store
from .extraction.health import DataHealth
from .inspecting.gathered import Gathered, gather
from .inspecting.pictures import Pictures


@dataclass(frozen=True)
class PlainImage:
    """A row whose image is of one colour, or has its embedding with others.

    Parameters
    ----------
    set, split : str
    row : int
    name : str or None
    label : str
    colour : str or None
        As ``#rrggbb``; None if the image is not at hand, and the row is listed since other images have its embedding.
    """

    set: str
    split: str
    row: int
    name: str | None
    label: str
    colour: str | None


@dataclass(frozen=True, eq=False, repr=False)
class PlainImages(Listing[PlainImage]):
    """Plain images, by set and row.

    Parameters
    ----------
    sets : tuple of str
    of, looked_at : int
        Rows, and how many of their images were at hand.
    by : {"pixels", "embeddings"}
        Whether images were looked at, or rows are listed whose embedding a different image has too, to the last bit.
    rows : tuple of PlainImage
    notes : tuple of str
    """

    row_type = PlainImage

    sets: tuple[str, ...]
    of: int
    looked_at: int
    by: Literal["pixels", "embeddings"]
    rows: tuple[PlainImage, ...]
    notes: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The JSON form."""
        said = {name: getattr(self, name) for name in ("of", "looked_at", "by")}
        rows = self.documents
        return {"sets": list(self.sets), **said, "plain_images": rows, "notes": list(self.notes)}

    def __repr__(self) -> str:
        """Say how many there are."""
        return f"<PlainImages: {len(self):,} of {self.of:,} rows, by {self.by}>"


def plain_images(
    store: str | Path | Store,
    what: str | Sequence[str],
    *,
    data_root: Path | None = None,
    max_rows: int | None = None,
    seed: int = 0,
) -> PlainImages:
    """List the rows whose image is of one colour.

    If the images are on this machine, each is looked at: it is plain if no channel has values more than 4 of 255 apart.
    If none is, rows are listed whose embedding a different image has too.

    Parameters
    ----------
    store : str, Path or Store
    what : str or sequence of str
        Ids of sets of one encoder, or of a trial, for its train and test sets; or their first digits.
    data_root : Path, optional
        Folder of torchvision's data sets.
    max_rows : int, optional
        Of each set look at so many rows at most, drawn class by class; all by default.
    seed : int
        Draws rows.

    Returns
    -------
    PlainImages

    Raises
    ------
    NotFound, Conflict
        If there is no such set or trial, or the sets are of several encoders.
    """
    opened = open_store(store)
    held = gather(opened, what, max_rows=max_rows, seed=seed)
    pictures, notes = held.pictures(opened, data_root)
    return plain_among(held, pictures, notes)


def plain_among(held: Gathered, pictures: Pictures | None, notes: Sequence[str] = ()) -> PlainImages:
    """Return the plain ones among rows whose images have been looked at, or are not at hand; see `plain_images`."""
    notes = list(notes)
    colours: list[str | None] = [None] * len(held.x)
    if pictures is None:
        listed = _sharing(held.x, held.ids)
        notes += [line for one in dict.fromkeys(held.sets) if (line := _recorded(one))]
    else:
        colours = pictures.plain
        listed = [i for i, colour in enumerate(colours) if colour is not None]
    rows = tuple(PlainImage(*held.described(i), colours[i]) for i in listed)
    return PlainImages(
        sets=tuple(dict.fromkeys(one.id for one in held.sets)),
        of=len(held.x),
        looked_at=0 if pictures is None else int(pictures.there.sum()),
        by="embeddings" if pictures is None else "pixels",
        rows=rows,
        notes=(*held.notes, *notes),
    )


def _sharing(x: np.ndarray[Any, Any], ids: np.ndarray[Any, Any]) -> list[int]:
    """Return the rows whose embedding the row of another image has too."""
    _, first, group = np.unique(x, axis=0, return_index=True, return_inverse=True)
    other = (ids != ids[first][group.ravel()]).any(axis=1)
    several = np.unique(group.ravel()[other])
    return np.flatnonzero(np.isin(group.ravel(), several)).tolist()


def _recorded(one: FeatureSet) -> str:
    """Return what was seen of plain images when the set was extracted."""
    health = DataHealth.recorded(one.manifest.provenance.document, one.rows)
    seen = None if health is None else health.decoded_images
    if seen is None or not seen.plain:
        return ""
    such = f", such as {' and '.join(seen.examples['plain'])}" if seen.examples.get("plain") else ""
    return f"{one.split}: when it was extracted, {seen.plain:,} of {seen.of:,} images were of one colour{such}"
