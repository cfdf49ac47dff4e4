"""One fit and its predictions, with everything that scikit-learn says on the way caught and kept.

Columns of a score are classes of the data set here, whatever order and subset of them the estimator saw.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import BadInput

Features = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Targets = npt.NDArray[np.int64] | npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.floating]

_WORTH_THREADS = 1e9
"""Multiplications in one pass over the rows (n d K) from which BLAS may use several threads.

Measured for LogisticRegression on 2 cores that were shared with other work: one thread was 4 to 20 times faster than
two at 5e7 and 1.6 times at 5e8; at 3e9 the difference was within the noise. Probably the threads of OpenBLAS spin while
they wait; the cause was not looked into.
"""


@dataclass(frozen=True)
class Fitted:
    """An estimator after `fit`.

    Parameters
    ----------
    estimator : object
    converged : bool
        False where the solver said that it stopped before its optimum.
    iterations : int or None
        Of the slowest of its problems; None for an estimator that does not count them.
    seconds : float
    warnings : tuple of str
        What was said during the fit, each text once.
    """

    estimator: Any
    converged: bool
    iterations: int | None
    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Prediction:
    """What a fitted estimator says of n rows.

    Parameters
    ----------
    labels : ndarray, int64 [n] or uint8 [n, C]
    scores : ndarray, float [n, C], or None
        Higher is likelier; -inf for a class that was not in training. None where the estimator does not rank.
    """

    labels: Targets
    scores: FloatArray | None


def fit_estimator(estimator: Any, x: Features, y: Targets) -> Fitted:
    """Fit `estimator` on rows x [n, d] and labels y [n] or [n, C].

    Raises
    ------
    BadInput
        If the estimator refuses its parameters or the data.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    n_classes = int(y.max()) + 1 if y.ndim == 1 else y.shape[1]
    blas_threads = 1 if x.size * n_classes < _WORTH_THREADS else None  # None: as many as BLAS likes
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, _refusals(estimator), threadpool_limits(blas_threads, "blas"):
        warnings.simplefilter("always")
        estimator.fit(x, y)
    seconds = time.perf_counter() - start
    return Fitted(
        estimator=estimator,
        converged=not any(issubclass(w.category, ConvergenceWarning) for w in caught),
        iterations=_iterations(estimator),
        seconds=seconds,
        warnings=tuple(dict.fromkeys(_text(w) for w in caught if _worth_telling(w))),
    )


def fit_grid(estimator: Any, x: Features, y: Targets, grid: Sequence[float]) -> dict[float, Fitted]:
    """Fit an estimator that fits many values of C together (it has `fit_many`); each gets its share of the seconds.

    Raises
    ------
    BadInput
        As `fit_estimator`.
    """
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, _refusals(estimator):
        warnings.simplefilter("always")
        probes = estimator.fit_many(x, y, grid)
    seconds = (time.perf_counter() - start) / len(grid)
    told = tuple(dict.fromkeys(_text(w) for w in caught if _worth_telling(w)))
    return {
        C: Fitted(probe, probe.converged_, _iterations(probe), seconds, told)
        for C, probe in zip(grid, probes, strict=True)
    }


def predict(estimator: Any, x: Features, n_classes: int, *, multilabel: bool) -> Prediction:
    """Return labels and scores of rows x [n, d].

    Raises
    ------
    BadInput
        If the estimator refuses the data, or predicts something that is not a class.
    """
    with warnings.catch_warnings(), _refusals(estimator):
        # Such as invalid values in a matrix product of some BLAS builds; the labels are checked below.
        warnings.simplefilter("ignore")
        labels = np.asarray(estimator.predict(x))
        scores = _multilabel_scores(estimator, x) if multilabel else _class_scores(estimator, x, n_classes)
    shape = (len(x), n_classes) if multilabel else (len(x),)
    top = 2 if multilabel else n_classes
    if labels.shape != shape or labels.dtype.kind not in "biuf" or not np.isin(labels, np.arange(top)).all():
        raise BadInput(
            f"{type(estimator).__name__} predicts something that is not a class index",
            hint="Give an estimator that predicts the labels it was fitted on.",
            expected=shape,
            found=labels.shape,
        )
    targets: Targets = labels.astype(np.uint8) if multilabel else labels.astype(np.int64)
    return Prediction(targets, scores)


def class_probabilities(estimator: Any, x: Features, n_classes: int) -> FloatArray | None:
    """Return probabilities [n, n_classes] of rows x [n, d], or None where the estimator has none.

    NaN in the column of a class that was not in training.
    """
    if not hasattr(estimator, "predict_proba"):
        return None
    with warnings.catch_warnings(), _refusals(estimator):
        warnings.simplefilter("ignore")
        raw = np.asarray(estimator.predict_proba(x))
    classes = np.asarray(getattr(estimator, "classes_", np.arange(n_classes)))
    if raw.shape != (len(x), classes.size):
        return None
    probabilities = np.full((len(x), n_classes), np.nan, dtype=np.float64)
    probabilities[:, classes.astype(np.int64)] = raw
    return probabilities


def _class_scores(estimator: Any, x: Features, n_classes: int) -> FloatArray | None:
    """Scores of single-label classes, scattered from ``classes_`` to all of them.

    ``decision_function`` goes first: probabilities of classes far behind round to the same zero, which would tie them.
    """
    classes = np.asarray(getattr(estimator, "classes_", np.arange(n_classes)))
    for method in ("decision_function", "predict_proba"):
        if not hasattr(estimator, method):
            continue
        raw = np.asarray(getattr(estimator, method)(x))
        if raw.ndim == 1 and classes.size == 2:
            raw = np.stack([-raw, raw], axis=1)  # one margin, of the second class
        # One-vs-one margins have a column a pair: not scores of classes.
        if raw.shape == (len(x), classes.size):
            scores = np.full((len(x), n_classes), -np.inf, dtype=np.result_type(raw, np.float32))
            scores[:, classes.astype(np.int64)] = raw
            return scores
    return None


def _multilabel_scores(estimator: Any, x: Features) -> FloatArray | None:
    """Scores of the positive side of every flag."""
    for method in ("decision_function", "predict_proba"):
        if not hasattr(estimator, method):
            continue
        raw = getattr(estimator, method)(x)
        if isinstance(raw, list):  # one [n, 1 or 2] a class, with the values that its flag had in training
            columns = [
                np.where(np.asarray(values) == 1, probability, 0.0).sum(axis=1)
                for values, probability in zip(estimator.classes_, raw, strict=True)
            ]
            return np.stack(columns, axis=1)
        return np.asarray(raw)
    return None


def _iterations(estimator: Any) -> int | None:
    parts = getattr(estimator, "estimators_", None)
    counts = [part.n_iter_ for part in (estimator, *(parts if isinstance(parts, list) else ())) if _counts(part)]
    return max((int(np.max(count)) for count in counts), default=None)


def _counts(estimator: Any) -> bool:
    return getattr(estimator, "n_iter_", None) is not None


def _worth_telling(warning: warnings.WarningMessage) -> bool:
    if issubclass(warning.category, DeprecationWarning | PendingDeprecationWarning):
        return False
    # OneVsRestClassifier says this once a class; `fit` says it once, with the number of classes.
    return not str(warning.message).startswith("Label ")


def _text(warning: warnings.WarningMessage) -> str:
    # The first line says what happened; the others of scikit-learn's texts are links.
    return f"{warning.category.__name__}: {str(warning.message).strip().splitlines()[0]}"


@contextmanager
def _refusals(estimator: Any) -> Iterator[None]:
    """Turn what an estimator raises about its parameters or data into BadInput."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise BadInput(
            f"{type(estimator).__name__} refused: {error}", hint="Change the probe's parameters, or the probe."
        ) from error
