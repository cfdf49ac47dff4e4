"""`label_errors`: rows whose label is likely wrong, by confident learning on stored embeddings; no encoder runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ..amounts import count
from ..arrays import Float64, Indices, Labels
from ..errors import BadInput, NotFound
from ..id_arrays import repeats
from ..notebook import Listing
from ..stores.feature_set import FeatureSet
from ..stores.opening import open_store
from ..stores.store import Store
from .inspecting.subset import drawn, names_of, set_of

FOLDS = 5
"""Of the cross-validation, unless another number is given."""


@dataclass(frozen=True)
class LabelError:
    """A row whose label is likely wrong.

    Parameters
    ----------
    row : int
        Of the set that `LabelErrors.set` names.
    name : str or None
        What its sample is called; None if the store does not have that.
    given, suggested : str
        The class that its label names, and the one that the probe finds most probable.
    given_probability, suggested_probability : float
        What a probe gives the two that was not fitted on the row.
    score : float
        Quality of the label, from 0 to 1: the lowest are the most suspicious. (1 + p_given - max p_other) / 2.
    """

    row: int
    name: str | None
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float
    score: float


@dataclass(frozen=True, eq=False, repr=False)
class LabelErrors(Listing[LabelError]):
    """Likely label errors, the most suspicious one first.

    Parameters
    ----------
    set : str
        Id of the set that has the rows.
    of, found : int
        How many rows were looked at, and how many labels of them are likely wrong.
    folds : int
    C : float
        Of the logistic regression.
    top1 : float
        Share of rows whose given class is the most probable one. If it is low, little can be said of labels.
    rows : tuple of LabelError
    notes : tuple of str
        What was left out.
    """

    row_type = LabelError

    set: str
    of: int
    found: int
    folds: int
    C: float
    top1: float
    rows: tuple[LabelError, ...]
    notes: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The JSON form."""
        said = {name: getattr(self, name) for name in ("set", "of", "found", "folds", "C", "top1")}
        return {**said, "label_errors": self.documents, "notes": list(self.notes)}

    def __repr__(self) -> str:
        """Say how many labels are suspicious."""
        return f"<LabelErrors of set {self.set[:12]}: {self.found:,} of {self.of:,} labels, {len(self):,} listed>"


def label_errors(
    store: str | Path | Store,
    what: str,
    *,
    part: Literal["train", "test", "val"] = "train",
    top: int | None = None,
    folds: int = FOLDS,
    C: float | None = None,
    max_rows: int | None = None,
    seed: int = 0,
) -> LabelErrors:
    """List the rows of a set whose label is likely wrong, the most suspicious first.

    Logistic regression is fitted on the set's own embeddings, in k-fold cross-validation: each row gets probabilities
    of a probe that has not seen it. Confident learning [1]_, as the package cleanlab computes it, estimates from them
    how many labels of each class are wrong, and which. Neither an encoder nor the images are needed. Half of what is
    listed may be right: look at the images.

    Parameters
    ----------
    store : str, Path or Store
    what : str
        Id of a set or of a trial, or its first digits.
    part : {"train", "test", "val"}
        Of a trial, which of its sets.
    top : int, optional
        At most so many; all by default.
    folds : int
        At least 2.
    C : float, optional
        Of the logistic regression. By default it is chosen from 0.1, 1, 10 and 100 on the first fold.
    max_rows : int, optional
        Look at so many rows at most, drawn class by class; all by default.
    seed : int
        Draws folds and rows.

    Returns
    -------
    LabelErrors

    Raises
    ------
    NotFound
        If there is no such set or trial, or cleanlab is not installed.
    BadInput
        If the set has no labels, several labels a row, or fewer than two classes with an image for each fold.

    References
    ----------
    .. [1] C. Northcutt, L. Jiang, I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of
       Artificial Intelligence Research 70 (2021). Candidates are pruned by noise rate, section 3.2.
    """
    if top is not None and top < 1:
        raise BadInput(f"top is 1 or more, not {top}.", key="top", found=top)
    if folds < 2:
        raise BadInput(f"folds is 2 or more, not {folds}.", key="folds", found=folds)
    if C is not None and not 0 < C < np.inf:
        raise BadInput(f"C is a number above 0, not {C}.", key="C", found=C)
    _check_installed()
    opened = open_store(store)
    feature_set = set_of(opened, what, part)
    if feature_set.unlabelled or feature_set.multilabel:
        has = "no labels" if feature_set.unlabelled else "several labels a row"
        raise BadInput(f"Set {feature_set.id[:12]} has {has}: label errors are found where a row has one label.")
    labels: Labels = feature_set.labels().astype(np.int64)
    chosen, about = drawn(labels, np.arange(feature_set.rows), max_rows, seed)
    chosen, notes = _enough(feature_set, chosen, labels[chosen], folds)
    seen = _seen(feature_set, chosen, labels[chosen], C, folds=folds, seed=seed)
    order = seen.suspects[np.argsort(seen.quality[seen.suspects], kind="stable")]
    names, about_names = names_of(feature_set)
    listed = order if top is None else order[:top]
    return LabelErrors(
        set=feature_set.id,
        of=len(chosen),
        found=len(order),
        folds=folds,
        C=seen.C,
        top1=float((seen.given == seen.probabilities.argmax(axis=1)).mean()),
        rows=tuple(_error(seen, int(i), int(chosen[i]), feature_set.classes, names) for i in listed),
        notes=(*about, *notes, *about_names),
    )


class _Seen(NamedTuple):
    """What confident learning says of some rows, of K classes.

    Parameters
    ----------
    given : ndarray, int64 [n]
        Places in `classes`.
    classes : ndarray, int64 [K]
        Places in the set's list of classes.
    probabilities : ndarray, float64 [n, K]
    suspects : ndarray, int64 [m]
        Rows whose label is likely wrong.
    quality : ndarray, float64 [n]
    C : float
    """

    given: Labels
    classes: Labels
    probabilities: Float64
    suspects: Indices
    quality: Float64
    C: float


def _seen(feature_set: FeatureSet, chosen: Indices, labels: Labels, C: float | None, *, folds: int, seed: int) -> _Seen:
    """Cross-validate, and find the labels that the probabilities speak against."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    from .inspecting.out_of_fold import GRID, out_of_fold

    classes, given = np.unique(labels, return_inverse=True)
    x, _ = feature_set.load(rows=chosen)
    ids, grid = feature_set.sample_ids(chosen), GRID if C is None else (C,)
    found = out_of_fold(x, given, ids, folds=folds, seed=seed, grid=grid)
    is_suspect = find_label_issues(given, found.probabilities, filter_by="prune_by_noise_rate", n_jobs=1)
    quality = get_label_quality_scores(given, found.probabilities, method="normalized_margin")
    return _Seen(given, classes, found.probabilities, np.flatnonzero(is_suspect), quality, found.C)


def _enough(feature_set: FeatureSet, chosen: Indices, labels: Labels, folds: int) -> tuple[Indices, list[str]]:
    """Return those rows whose class has a different image for each fold, and what is to be said of the others.

    Raises
    ------
    BadInput
        If fewer than two classes have enough images.
    """
    again = repeats(feature_set.sample_ids(chosen))
    first = np.arange(len(chosen))
    first[again.rows] = again.first
    images = np.unique(np.stack([labels, first], axis=1), axis=0)  # [p, 2], each image once in each class
    sizes = np.bincount(images[:, 0], minlength=len(feature_set.classes))
    there = np.bincount(labels, minlength=len(feature_set.classes)) > 0
    few = there & (sizes < folds)
    if np.count_nonzero(sizes >= folds) < 2:
        of = f"Of {len(chosen):,} rows" if len(chosen) == feature_set.rows else f"Of the {len(chosen):,} rows drawn"
        raise BadInput(
            f"{of} of set {feature_set.id[:12]}, fewer than two classes have {folds} different images.",
            hint="Give fewer folds, look at more rows, or take a larger set.",
            key="folds",
        )
    notes = []
    if few.any():
        left = int(few[labels].sum())
        which = count(int(few.sum()), "class")
        notes.append(f"{count(left, 'row')} of {which} with fewer than {folds} different images: left out")
    return chosen[~few[labels]], notes


def _error(seen: _Seen, i: int, row: int, classes: Sequence[str], names: Sequence[str] | None) -> LabelError:
    p, given = seen.probabilities[i], int(seen.given[i])
    others = np.where(np.arange(len(p)) == given, -1.0, p)
    suggested = int(others.argmax())
    return LabelError(
        row=row,
        name=names[row] if names is not None and row < len(names) else None,
        given=classes[int(seen.classes[given])],
        suggested=classes[int(seen.classes[suggested])],
        given_probability=float(p[given]),
        suggested_probability=float(p[suggested]),
        score=float(seen.quality[i]),
    )


def _check_installed() -> None:
    """Refuse to begin without cleanlab, before anything is read."""
    from importlib.util import find_spec

    if find_spec("cleanlab") is None:
        raise NotFound("cleanlab is not installed.", hint="Install it: pip install 'cryoprobe[labels]'", key="cleanlab")
