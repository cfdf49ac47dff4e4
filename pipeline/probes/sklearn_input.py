"""What every probe of ours does first: take rows and labels as numpy arrays, checked as scikit-learn checks them.

Rows of float32 and float64 are kept as they are, halves are widened to float32, anything else becomes float64. Torch
tensors are taken from any device. Nothing here computes a probe.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data

from ...arrays import Array, Features, Float64, Indices, Int64

_ROWS_AT_ONCE = 8192
"""Rows that are widened to float64 together; at 1,024 dimensions they are 64 MiB."""


class Labelled(NamedTuple):
    """Rows with their labels.

    Parameters
    ----------
    x : ndarray, float32 or float64 [n, d]
    codes : ndarray, int64 [n] or [n, C]
        Place of the label in `classes`, or one 0/1 flag a class.
    classes : ndarray [C]
        Labels in ascending order; 0 to C - 1 where there are flags.
    """

    x: Features
    codes: Int64
    classes: Array

    @property
    def are_flags(self) -> bool:
        """Whether a row may have several labels."""
        return self.codes.ndim == 2


class TakesFlags:
    """Tells scikit-learn that an estimator takes flags [n, C] as labels; stands before its other bases."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.classifier_tags.multi_label = True
        return tags


def as_numpy(values: Any) -> Any:
    """Return a tensor as an array and halves as float32; anything else, data frames included, as it is.

    scikit-learn would widen halves to float64, which doubles the memory of features that were stored small.
    """
    torch = sys.modules.get("torch")  # who has a tensor has imported it
    if torch is not None and isinstance(values, torch.Tensor):
        tensor = values.detach().cpu()
        values = (tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor).numpy()
    if isinstance(values, np.ndarray) and values.dtype == np.float16:
        values = values.astype(np.float32)
    return values


def check_labelled(estimator: Any, X: Any, y: Any, *, flags: bool = False) -> Labelled:
    """Check what an estimator is fitted on, and note the number and names of its features.

    Parameters
    ----------
    estimator : BaseEstimator
        Gets ``n_features_in_``, and ``feature_names_in_`` where `X` has names.
    X : array-like [n, d]
    y : array-like [n], or 0/1 flags [n, C] if `flags`
    flags : bool
        Whether the estimator takes flags.

    Raises
    ------
    ValueError
        If rows are not finite numbers, labels are not classes, or there is a single class.

    Examples
    --------
    >>> from cryoprobe.pipeline.probes.closed_form.centroids import NearestMeanProbe
    >>> check_labelled(NearestMeanProbe(), [[0.0], [1.0], [2.0]], ["b", "a", "b"]).codes.tolist()
    [1, 0, 1]
    """
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None.")
    x, y = _validated(estimator, as_numpy(X), as_numpy(y), flags=flags)
    return Labelled(x, *_codes_and_classes(estimator, y, flags=flags))


def check_labels(estimator: Any, x: Any, y: Any, *, flags: bool = False) -> Labelled:
    """Check the labels of rows that are checked elsewhere: tensors, or blocks of a stream.

    Raises
    ------
    ValueError
        As `check_labelled`.
    """
    return Labelled(
        x, *_codes_and_classes(estimator, check_array(as_numpy(y), ensure_2d=False, dtype=None), flags=flags)
    )


def _codes_and_classes(estimator: Any, y: Any, *, flags: bool) -> tuple[Int64, Array]:
    if flags and type_of_target(y) == "multilabel-indicator":
        given = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        if not np.isin(given, (0, 1)).all():
            raise ValueError("Labels [n, C] must be flags, 0 or 1.")
        return given.astype(np.int64, copy=False), np.arange(given.shape[1])
    if flags and np.ndim(y) == 2 and np.shape(y)[1] > 1:
        raise ValueError(f"y must be class labels [n], or flags of 0 and 1 [n, C], not numbers of shape {np.shape(y)}.")
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{type(estimator).__name__} needs rows of at least two classes, and there is one class.")
    return codes.astype(np.int64, copy=False), classes


def check_rows(estimator: Any, X: Any) -> Features:
    """Check what a fitted estimator is asked about.

    Raises
    ------
    sklearn.exceptions.NotFittedError
    ValueError
        If rows are not finite numbers, or do not have the features that the estimator was fitted on.
    """
    check_is_fitted(estimator)
    x: Features = _validated(estimator, as_numpy(X))
    return x


def check_weights(sample_weight: Any, n: int) -> Float64:
    """Return one weight a row, 1 where None is given.

    Raises
    ------
    ValueError
        If there is not one finite weight of at least 0 a row, or all of them are 0.
    """
    if sample_weight is None:
        return np.ones(n)
    weights = np.asarray(as_numpy(sample_weight), dtype=np.float64)
    if weights.shape == ():
        weights = np.full(n, weights)
    if weights.shape != (n,):
        raise ValueError(f"sample_weight has shape {weights.shape}, not one weight for each of {n} rows.")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("Sample weights must be finite and at least 0.")
    if not weights.any():
        raise ValueError("All sample weights are zero.")
    return weights


def blocks(n: int, size: int = _ROWS_AT_ONCE) -> list[slice]:
    """Return consecutive slices of at most `size` that cover 0 to n."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def class_sums(x: Features, codes: Indices, n_classes: int, inverse_norms: Float64 | None = None) -> Float64:
    """Return the sum of every class' rows, float64 [C, d], accumulated in float64.

    Parameters
    ----------
    x : ndarray [n, d]
    codes : ndarray, int64 [n]
    n_classes : int
    inverse_norms : ndarray, float64 [n], optional
        Factor of each row.
    """
    sums = np.zeros((n_classes, x.shape[1]))
    order = np.argsort(codes, kind="stable")
    for block in blocks(len(x)):
        rows = order[block]
        values = x[rows].astype(np.float64)  # [b, d]
        if inverse_norms is not None:
            values *= inverse_norms[rows, None]
        first = np.flatnonzero(np.diff(codes[rows], prepend=-1))  # of each class in the block
        sums[codes[rows][first]] += np.add.reduceat(values, first, axis=0)
    return sums


def squares(x: Features) -> Float64:
    """Return the squared Euclidean norm of every row, float64 [n].

    Raises
    ------
    ValueError
        If a row is too long for float64 (1e154).
    """
    # Widened before it is squared: float32 overflows at 1e19.
    with np.errstate(over="ignore"):
        found = np.concatenate([np.square(x[block].astype(np.float64)).sum(axis=1) for block in blocks(len(x))])
    if not np.isfinite(found).all():
        raise ValueError("Some rows are too large for float64 arithmetic.")
    return found


def norms(x: Features) -> Float64:
    """Return the Euclidean norm of every row, float64 [n]; 1 for a row of zeros, which no factor can scale."""
    found: Float64 = np.sqrt(squares(x))
    found[found == 0] = 1.0
    return found


def _validated(estimator: Any, X: Any, y: Any = None, *, flags: bool = False) -> Any:
    """Run scikit-learn's own checks; with `y`, as for a fit."""
    how: dict[str, Any] = {"dtype": [np.float64, np.float32]}
    if y is None:
        how["reset"] = False
    else:
        how.update(y=y, multi_output=flags)
    return validate_data(estimator, X, **how)
