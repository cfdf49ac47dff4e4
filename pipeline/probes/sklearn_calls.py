"""One fit and its predictions, with everything that scikit-learn says on the way caught and kept."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...arrays import Features, Targets
from ...errors import BadInput
from ..tasks import Prediction, Task
from .labelled_features import FeatureRows, LabelledFeatures, blocks_of, of_every_rank
from .sharded_rows import ShardedRows

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
    others = [w for w in caught if not issubclass(w.category, ConvergenceWarning)]
    return [_fitted(probe, seconds, others) for probe in probes]


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


def predict(estimator: Any, part: LabelledFeatures, n_classes: int, *, in_float64: bool = False) -> Prediction:
    """Return labels, scores and probabilities of the rows of a part, block by block.

    Parameters
    ----------
    estimator : object
    part : LabelledFeatures
        Its labels are not looked at, only what kind they are.
    n_classes : int
    in_float64 : bool
        Hand rows to the estimator in float64: a saved probe computes in it, and both then decide alike.

    Raises
    ------
    BadInput
        If the estimator refuses the data, or predicts something that is not a class.
    """
    # Nearest neighbours are the same in any arithmetic, and faster in float32.
    dtype = np.float64 if in_float64 and not hasattr(estimator, "votes_at") else None
    # Nearest neighbours of several ranks are asked for together, and all else of each rank's own rows.
    together = isinstance(part.x, ShardedRows) and hasattr(estimator, "votes_at")
    found = [
        _predict_block(estimator, block if dtype is None else block.astype(dtype), n_classes, part.task)
        for block in (part.x.whole_blocks() if isinstance(part.x, ShardedRows) and together else blocks_of(part.x))
    ]

    def all_of(name: str) -> Any:
        values = [getattr(block, name) for block in found]
        own = None if not values or any(v is None for v in values) else np.concatenate(values)
        return own if together else of_every_rank(part.x, own)

    return Prediction(all_of("labels"), all_of("scores"), all_of("probabilities"), all_of("tied"))


def _predict_block(estimator: Any, x: Features, n_classes: int, task: Task) -> Prediction:
    with warnings.catch_warnings(), _refusals(estimator):
        # Such as invalid values in a matrix product of some BLAS builds; the labels are checked below.
        warnings.simplefilter("ignore")
        found = task.read(estimator, x, n_classes)
    labels, shape = found.labels, task.shape(len(x), n_classes)
    is_class = labels.dtype.kind in "biuf" and bool(np.isin(labels, np.arange(task.values(n_classes))).all())
    if labels.shape != shape or not is_class:
        raise BadInput(
            f"{type(estimator).__name__} predicts something that is not a class index",
            hint="Give an estimator that predicts the labels it was fitted on.",
            expected=shape,
            found=labels.shape,
        )
    return replace(found, labels=task.as_targets(labels))


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
