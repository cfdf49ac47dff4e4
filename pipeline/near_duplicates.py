"""`near_duplicates`: pairs of rows that show nearly the same image, within a set and across sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import Features, Float64, Indices
from ..errors import BadInput
from ..id_arrays import halves
from ..notebook import Listing
from ..stores.opening import open_store
from ..stores.store import Store
from .inspecting.gathered import Gathered, gather
from .inspecting.pictures import Pictures

SAME_PICTURE = 0.995
"""Correlation of two small grey images from which they are taken for one picture; docs/data-health.md tells why."""

MOST_PAIRS = 100_000
"""Of more pairs the closest are kept: such data consist of duplicates."""

_COLLAPSED = 0.999
"""Cosine of two random rows, in the median, from which embeddings say nothing about images."""
_SAMPLE = 2_000
"""Random pairs of which that is the median."""
_PAIRS_AT_ONCE = 4_096
"""Of which cosines are computed: two buffers of a few MiB."""

_QUERIES = 2_000
"""Rows from whose neighbours the threshold is derived."""
_NEIGHBOURS = 10


@dataclass(frozen=True)
class Duplicate:
    """Two rows that show nearly the same image.

    Parameters
    ----------
    set, other_set : str
        Ids of the sets that have them.
    split, other_split : str
        ``held out`` for test rows that a trial held out of its train set.
    row, other_row : int
    name, other_name : str or None
        None if the store does not have that.
    label, other_label : str
        Of flags, those that are set, joined by ``|``.
    cosine : float
        Of the embeddings.
    pixels : float or None
        Correlation of the small grey images; None if one of them is not at hand, or all but plain.
    same_bytes : bool
        Whether the files have the same content.
    """

    set: str
    split: str
    row: int
    name: str | None
    label: str
    other_set: str
    other_split: str
    other_row: int
    other_name: str | None
    other_label: str
    cosine: float
    pixels: float | None
    same_bytes: bool

    @property
    def across(self) -> bool:
        """Whether they are in two sets, or train and held-out rows of one: a test image in train is no test."""
        return (self.set, self.split) != (self.other_set, self.other_split)


@dataclass(frozen=True, eq=False, repr=False)
class Duplicates(Listing[Duplicate]):
    """Pairs of rows, the closest first; pairs across sets before the others.

    Parameters
    ----------
    sets : tuple of str
        Ids; a set is named twice if a trial held its test rows out of it.
    of, found, across : int
        Rows that were compared, pairs, and pairs across sets, or across train and held-out rows.
    threshold : float
        Cosine from which a pair is listed.
    derived : bool
        Whether the threshold follows from the data; else it was given.
    same_picture : float or None
        Correlation of pixels from which a pair is listed; None if no images were compared.
    rows : tuple of Duplicate
    notes : tuple of str
    """

    row_type = Duplicate

    sets: tuple[str, ...]
    of: int
    found: int
    across: int
    threshold: float
    derived: bool
    same_picture: float | None
    rows: tuple[Duplicate, ...]
    notes: tuple[str, ...] = ()

    @property
    def criterion(self) -> str:
        """What makes a pair, in words."""
        how = "at which about one pair of different images is expected" if self.derived else "as given"
        pixels = f", or small grey images that correlate by {self.same_picture:g}" if self.same_picture else ""
        return f"same bytes, or cosine of embeddings from {self.threshold:.4f} on ({how}){pixels}"

    @property
    def document(self) -> dict[str, Any]:
        """The JSON form."""
        names = ("sets", "of", "found", "across", "threshold", "derived", "same_picture")
        said = {name: getattr(self, name) for name in names}
        return {**said, "sets": list(self.sets), "pairs": self.documents, "notes": list(self.notes)}

    def __repr__(self) -> str:
        """Say how many pairs there are."""
        return (
            f"<Duplicates: {self.found:,} pairs of {self.of:,} rows, {self.across:,} across sets, {len(self):,} listed>"
        )


def near_duplicates(
    store: str | Path | Store,
    what: str | Sequence[str],
    *,
    top: int | None = None,
    threshold: float | None = None,
    images: bool = True,
    data_root: Path | None = None,
    max_rows: int | None = None,
    seed: int = 0,
) -> Duplicates:
    """List pairs of rows that show nearly the same image: within a set, and across train and test.

    A pair is listed if the files have the same bytes, or if the cosine of the embeddings is at least a threshold. If
    the images are on this machine, it is also listed if small grey versions of both correlate by 0.995, whatever their
    brightness. No encoder runs. All rows are compared with all, block by block.

    Parameters
    ----------
    store : str, Path or Store
    what : str or sequence of str
        Ids of sets of one encoder, or of a trial, whose train and test rows are compared; or their first digits.
    top : int, optional
        At most so many pairs; all by default.
    threshold : float, optional
        Cosine of embeddings from which a pair is listed. By default the one at which about one pair of different images
        is expected, as the distances to nearest neighbours let expect; see *Notes*.
    images : bool
        Look for the images too.
    data_root : Path, optional
        Folder of torchvision's data sets.
    max_rows : int, optional
        Of each set look at so many rows at most, drawn class by class; all by default.
    seed : int
        Draws rows.

    Returns
    -------
    Duplicates

    Raises
    ------
    NotFound, Conflict
        If there is no such set or trial, or the sets are of several encoders.
    BadInput
        If an option is out of range.

    Notes
    -----
    Let t = 1 - cosine. The share of rows whose nearest neighbour is closer than t grows like t^m, with m the dimension
    that the neighbours fill, estimated by maximum likelihood [1]_ as the median over 2,000 rows. From the tenth of the
    rows with the closest neighbours it is continued to the t at which one row of all is expected; the cosine is at most
    0.999.

    References
    ----------
    .. [1] E. Levina, P. Bickel, "Maximum Likelihood Estimation of Intrinsic Dimension", NIPS 2004.
    """
    if top is not None and top < 1:
        raise BadInput(f"top is 1 or more, not {top}.", key="top", found=top)
    if threshold is not None and not 0 < threshold <= 1:
        raise BadInput(f"threshold is a cosine above 0, at most 1, not {threshold}.", key="threshold", found=threshold)
    opened = open_store(store)
    held = gather(opened, what, max_rows=max_rows, seed=seed)
    pictures, notes = held.pictures(opened, data_root) if images else (None, [])
    return duplicates_among(held, pictures, threshold=threshold, top=top, notes=notes)


def duplicates_among(
    held: Gathered,
    pictures: Pictures | None,
    *,
    threshold: float | None = None,
    top: int | None = None,
    notes: Sequence[str] = (),
) -> Duplicates:
    """Return the pairs among rows whose images have been looked at, or are not at hand; see `near_duplicates`."""
    notes = list(notes)
    limit = threshold if threshold is not None else derived_threshold(held.x)
    pairs, cut = _pairs(held, pictures, limit)
    if cut:
        notes.append(f"there are more than {MOST_PAIRS:,} pairs: the closest are kept, wherever they are")
    if (typical := typical_cosine(held.x)) >= _COLLAPSED:
        notes.append(f"embeddings have collapsed: two random rows have a cosine of {typical:.6f} in the median")
    across = int((held.which[pairs.first] != held.which[pairs.second]).sum())
    return Duplicates(
        sets=tuple(one.id for one in held.sets),
        of=len(held.x),
        found=len(pairs.first),
        across=across,
        threshold=float(limit),
        derived=threshold is None,
        same_picture=None if pictures is None or not pictures.there.any() else SAME_PICTURE,
        rows=tuple(_duplicate(held, pairs, i) for i in range(len(pairs.first))[:top]),
        notes=(*held.notes, *notes),
    )


def derived_threshold(x: Features) -> float:
    """Return the cosine at which about one of the rows x [n, d] has a neighbour by chance; see `near_duplicates`."""
    from .probes.knn.nearest import nearest

    n = len(x)
    k = min(_NEIGHBOURS + 1, n)
    if k < 3 or typical_cosine(x) >= _COLLAPSED:  # neighbours of collapsed rows are many, and mean nothing
        return 0.999
    rows = np.sort(np.random.default_rng(0).permutation(n)[:_QUERIES])
    cosines = np.concatenate([found for _, found, _ in nearest(x[rows], x, k)])
    far = np.maximum(1 - cosines[:, 1:], 1e-12)  # the nearest is the row itself, or its exact copy
    spread = np.log(far[:, -1:] / far[:, :-1]).mean(axis=1)
    own = far[:, -1] > 1e-6  # others consist of copies
    dimension = float(np.median(1 / np.maximum(spread[own], 1e-3))) if own.any() else 1.0
    near = float(np.quantile(far[:, 0], 0.1))
    return float(np.clip(1 - near * (10 / n) ** (1 / max(dimension, 1.0)), 0.5, 0.999))


def typical_cosine(x: Features) -> float:
    """Return the median cosine of random pairs of different rows x [n, d]; 0 if there are fewer than ten rows.

    Examples
    --------
    >>> typical_cosine(np.eye(20))
    0.0
    """
    if len(x) < 10:  # a few copies are no collapse
        return 0.0
    rng = np.random.default_rng(0)
    first = rng.integers(0, len(x), _SAMPLE)
    second = (first + rng.integers(1, len(x), _SAMPLE)) % len(x)
    return float(np.median(_cosines(x, first, second)))


def _cosines(x: Features, first: Indices, second: Indices) -> Float64:
    """Return the cosines of pairs of rows x [n, d], float64 [p]; 0 if either row is zeros."""
    from .probes.sklearn_input import blocks, norms

    lengths = norms(x)  # stored halves are of norm 1 but for rounding
    found = np.empty(len(first))
    for block in blocks(len(first), _PAIRS_AT_ONCE):
        a, b = first[block], second[block]
        found[block] = np.einsum("pd,pd->p", x[a], x[b], dtype=np.float64) / (lengths[a] * lengths[b])
    return found


@dataclass(frozen=True)
class _Found:
    """Pairs in the order in which they are listed.

    Parameters
    ----------
    first, second : ndarray, int64 [p]
    cosines, pixels : ndarray, float64 [p]
        NaN in `pixels` for what was not compared.
    same : ndarray, bool [p]
    """

    first: Indices
    second: Indices
    cosines: Float64
    pixels: Float64
    same: np.ndarray[Any, np.dtype[np.bool_]]


def _pairs(held: Gathered, pictures: Pictures | None, threshold: float) -> tuple[_Found, bool]:
    """Return all pairs, and whether the search was cut."""
    from .probes.knn.nearest import pairs_above

    n = len(held.x)
    is_plain = np.zeros(n, bool) if pictures is None else np.array([c is not None for c in pictures.plain], bool)
    x = held.x.copy()
    x[is_plain] = 0  # plain images are listed as such, and not each with each other
    a, b, _ = pairs_above(x, threshold, most=MOST_PAIRS + 1)
    codes = [a * n + b, held.equal_pairs(MOST_PAIRS + 1)]
    cut = max(len(code) for code in codes) > MOST_PAIRS
    if pictures is not None:
        c, d, _ = pairs_above(pictures.vectors, SAME_PICTURE, most=MOST_PAIRS + 1)
        codes.append(c * n + d)
        cut = cut or len(c) > MOST_PAIRS
    first, second = np.divmod(np.unique(np.concatenate(codes)), max(n, 1))
    cosines = _cosines(held.x, first, second)
    pixels = np.full(len(first), np.nan)
    if pictures is not None:
        v = pictures.vectors
        there = np.asarray(v.any(axis=1))
        compared = there[first] & there[second]
        pixels[compared] = _cosines(v, first[compared], second[compared])
    heads = np.stack(halves(held.ids), axis=1)
    same = (heads[first] == heads[second]).all(axis=1)
    across = held.which[first] != held.which[second]
    closeness = np.where(np.isnan(pixels), cosines, np.maximum(pixels, cosines))
    order = np.lexsort((second, first, -closeness, ~same))[:MOST_PAIRS]
    order = order[np.argsort(~across[order], kind="stable")]
    cut = cut or len(order) < len(first)
    return _Found(first[order], second[order], cosines[order], pixels[order], same[order]), cut


def _duplicate(held: Gathered, pairs: _Found, i: int) -> Duplicate:
    a, b = held.described(int(pairs.first[i])), held.described(int(pairs.second[i]))
    pixels = float(pairs.pixels[i])
    return Duplicate(
        set=a.set,
        split=a.split,
        row=a.row,
        name=a.name,
        label=a.label,
        other_set=b.set,
        other_split=b.split,
        other_row=b.row,
        other_name=b.name,
        other_label=b.label,
        cosine=min(float(pairs.cosines[i]), 1.0),
        pixels=None if np.isnan(pixels) else min(pixels, 1.0),
        same_bytes=bool(pairs.same[i]),
    )
