"""One fit and its predictions, with everything that scikit-learn says on the way caught and kept.

Columns of a score are classes of the data set here, whatever order and subset of them the estimator saw.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...arrays import Mask, Scores, Targets
from ...errors import BadInput
from .labelled_features import FeatureRows, blocks_of

if TYPE_CHECKING:
    from .logistic import Rotated

    TrainingRows: TypeAlias = FeatureRows | Rotated

_WORTH_THREADS = 1e9
"""Multiplications in one pass over the rows (n d K) from which BLAS may use several threads.

Measured for scikit-learn's LogisticRegression on 2 cores that were shared with other work: one thread was 4 to 20 times
faster than two at 5e7 and 1.6 times at 5e8; at 3e9 the difference was within the noise. Probably the threads of
OpenBLAS spin while they wait; the cause was not looked into.
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
    gradient_norm, objective : float or None
        Where the fit ended, for an estimator that says so.
    gap : float or None
        How far the objective is above the smallest one, relative to that, at most; None where it is not known.
    """

    estimator: Any
    converged: bool
    iterations: int | None
    seconds: float
    warnings: tuple[str, ...]
    gradient_norm: float | None = None
    objective: float | None = None
    gap: float | None = None


@dataclass(frozen=True)
class Prediction:
    """What a fitted estimator says of n rows.

    Parameters
    ----------
    labels : ndarray, int64 [n] or uint8 [n, C]
    scores : ndarray, float [n, C], or None
        Higher is likelier; -inf for a class that was not in training, or got no vote. None where the estimator does
        not rank.
    probabilities : ndarray, float [n, C], or None
        NaN in the column of a class that was not in training; 0 only for a class that got no vote. None where the
        estimator has none, and for flags.
    tied : ndarray, bool [n], or None
        Of nearest neighbours; see `Votes`.
    """

    labels: Targets
    scores: Scores | None
    probabilities: Scores | None = None
    tied: Mask | None = None


def fit_estimator(estimator: Any, x: TrainingRows, y: Targets) -> Fitted:
    """Fit `estimator` on rows x [n, d] and labels y [n] or [n, C].

    Raises
    ------
    BadInput
        If the estimator refuses its parameters or the data.
    """
    from threadpoolctl import threadpool_limits

    n_classes = int(y.max()) + 1 if y.ndim == 1 else y.shape[1]
    size = len(y) * (x.shape[1] if hasattr(x, "shape") else x.d)
    blas_threads = 1 if size * n_classes < _WORTH_THREADS else None  # None: as many as BLAS likes
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, _refusals(estimator), threadpool_limits(blas_threads, "blas"):
        warnings.simplefilter("always")
        estimator.fit(x, y)
    return _fitted(estimator, time.perf_counter() - start, caught)


def fit_grid(estimator: Any, x: TrainingRows, y: Targets, grid: Sequence[float]) -> list[Fitted]:
    """Fit an estimator that fits many values together (it has `fit_many`); each gets its share of the seconds.

    Raises
    ------
    BadInput
        As `fit_estimator`.
    """
    from sklearn.exceptions import ConvergenceWarning

    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught, _refusals(estimator):
        warnings.simplefilter("always")
        probes = estimator.fit_many(x, y, grid)
    seconds = (time.perf_counter() - start) / len(grid)
    # That a fit did not converge each says itself; who said the rest is not known.
    told = [w for w in caught if not issubclass(w.category, ConvergenceWarning)]
    return [_fitted(probe, seconds, told) for probe in probes]


def _fitted(estimator: Any, seconds: float, caught: Sequence[warnings.WarningMessage]) -> Fitted:
    from sklearn.exceptions import ConvergenceWarning

    stopped = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    norm, objective, gap = (getattr(estimator, name, None) for name in ("gradient_norm_", "objective_", "gap_"))
    return Fitted(
        estimator=estimator,
        converged=bool(getattr(estimator, "converged_", not stopped)),
        iterations=_iterations(estimator),
        seconds=seconds,
        warnings=tuple(dict.fromkeys(_text(w) for w in caught if _worth_telling(w))),
        gradient_norm=None if norm is None else float(norm),
        objective=None if objective is None else float(objective),
        gap=None if gap is None or not np.isfinite(gap) else float(gap),
    )


def predict(
    estimator: Any, x: FeatureRows, n_classes: int, *, multilabel: bool, in_float64: bool = False
) -> Prediction:
    """Return labels, scores and probabilities of rows x [n, d], block by block.

    Parameters
    ----------
    estimator : object
    x : ndarray [n, d], or StoredRows
    n_classes : int
    multilabel : bool
    in_float64 : bool
        Hand rows to the estimator in float64: a saved probe computes in it, and both then decide alike.

    Raises
    ------
    BadInput
        If the estimator refuses the data, or predicts something that is not a class.
    """
    # Nearest neighbours are the same in any arithmetic, and faster in float32.
    dtype = np.float64 if in_float64 and not hasattr(estimator, "votes_at") else None
    parts = [
        _predict_block(estimator, block if dtype is None else block.astype(dtype), n_classes, multilabel)
        for block in blocks_of(x)
    ]

    def all_of(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if any(v is None for v in values) else np.concatenate(values)

    return Prediction(all_of("labels"), all_of("scores"), all_of("probabilities"), all_of("tied"))


def _predict_block(estimator: Any, x: Scores, n_classes: int, multilabel: bool) -> Prediction:
    probabilities, tied = None, None
    with warnings.catch_warnings(), _refusals(estimator):
        # Such as invalid values in a matrix product of some BLAS builds; the labels are checked below.
        warnings.simplefilter("ignore")
        if hasattr(estimator, "votes_at"):  # nearest neighbours: one search serves all that is asked
            votes, tied = estimator.votes_at(x, (estimator.k_,))[0]
            labels = np.asarray(estimator.decided(votes))
            scores: Scores | None = votes
            if not multilabel:
                probabilities = _in_columns(estimator, votes, n_classes, np.nan)
                scores = None if probabilities is None else without_votes_last(probabilities)
        elif multilabel:
            labels, scores = np.asarray(estimator.predict(x)), _multilabel_scores(estimator, x)
        else:
            labels = np.asarray(estimator.predict(x))
            probabilities = class_probabilities(estimator, x, n_classes)
            scores = _class_scores(estimator, x, n_classes, probabilities)
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
    return Prediction(targets, scores, probabilities, tied)


def without_votes_last(probabilities: Scores) -> Scores:
    """Return probabilities as scores: -inf for a class without a vote or a training row, which nothing speaks for."""
    return np.where(probabilities > 0, probabilities, -np.inf)


def class_probabilities(estimator: Any, x: Scores, n_classes: int) -> Scores | None:
    """Return probabilities [n, n_classes] of rows x [n, d], or None where the estimator has none.

    NaN in the column of a class that was not in training. A probability that comes from margins is never 0: one that
    was rounded to it is the smallest normal number. Elsewhere, as in a forest, 0 means that nothing voted for it.
    """
    if not hasattr(estimator, "predict_proba"):
        return None
    with warnings.catch_warnings(), _refusals(estimator):
        warnings.simplefilter("ignore")
        raw = np.asarray(estimator.predict_proba(x))
        if hasattr(estimator, "decision_function") and not raw.all():
            raw = np.maximum(raw.astype(np.float64), np.finfo(np.float64).tiny)
    return _in_columns(estimator, raw, n_classes, np.nan)


def _in_columns(estimator: Any, raw: Scores, n_classes: int, absent: float) -> Scores | None:
    """Scatter columns from the estimator's ``classes_`` to all classes; None where they are not those."""
    classes = np.asarray(getattr(estimator, "classes_", np.arange(n_classes)))
    if raw.shape != (len(raw), classes.size):
        return None
    values = np.full((len(raw), n_classes), absent, dtype=np.result_type(raw, np.float32))
    values[:, classes.astype(np.int64)] = raw
    return values


def _class_scores(estimator: Any, x: Scores, n_classes: int, probabilities: Scores | None) -> Scores | None:
    """Scores of single-label classes.

    ``decision_function`` goes first: probabilities of classes far behind round to the same zero, which would tie them.
    """
    if hasattr(estimator, "decision_function"):
        raw = np.asarray(estimator.decision_function(x))
        if raw.ndim == 1 and np.size(getattr(estimator, "classes_", ())) == 2:
            raw = np.stack([-raw, raw], axis=1)  # one margin, of the second class
        # One-vs-one margins have a column a pair: not scores of classes.
        if raw.ndim == 2 and (scores := _in_columns(estimator, raw, n_classes, -np.inf)) is not None:
            return scores
    if probabilities is None:
        return None
    scores = without_votes_last(probabilities)
    if np.isneginf(scores).any() and hasattr(estimator, "predict_log_proba"):  # finite where a density underflows
        raw = np.asarray(estimator.predict_log_proba(x))
        logs = _in_columns(estimator, raw, n_classes, -np.inf)
        return scores if logs is None else logs
    return scores


def _multilabel_scores(estimator: Any, x: Scores) -> Scores | None:
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
    # scikit-learn's OneVsRestClassifier says this once a class; `check_parts` says it once, with the number of classes.
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
