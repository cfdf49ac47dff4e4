"""From a request and rows in memory to a scored probe: check, choose C, fit, score on test.

Where C is chosen, it is chosen on the validation part, and the probe is then fitted anew on train and validation
together. Where there is nothing to choose, the validation part is not used at all: the probe is fitted on train, and
`ProbeOutcome.warnings` says so. Test labels are read only to be checked and to score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import BadInput
from .estimators import for_multilabel, grid_of, make_estimator
from .metrics import (
    ClassificationMetrics,
    MultilabelMetrics,
    classification_metrics,
    mean_average_precision,
    multilabel_metrics,
    negative_log_likelihood,
)
from .named import NAMED
from .request import ProbeRequest
from .selection import Criterion, CurvePoint, ValidationScores, choose_C
from .training import Fitted, class_probabilities, fit_estimator, fit_grid, predict


@dataclass(frozen=True)
class Part:
    """Rows in memory.

    Parameters
    ----------
    x : ndarray, float32 [n, d]
        Embeddings, of unit norm unless the protocol wants raw ones.
    y : ndarray, int64 [n] or uint8 [n, C]
        Class index, or one 0/1 flag a class.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64] | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ProbeOutcome:
    """A probe that was fitted and scored.

    Parameters
    ----------
    chosen : dict
        The grid parameter that the probe was fitted with, ``{"C": 10.0}``; empty for an estimator without a grid.
    chosen_by : str or None
        The validation score that chose it: ``nll``, ``top1`` or ``map``; None where nothing was chosen.
    curve : list of CurvePoint
        Validation scores of every value; empty where nothing was chosen.
    metrics : dict
        On test; see `classification_metrics` and `multilabel_metrics`.
    converged : bool
        Whether the final fit reached its optimum.
    warnings : list of str
        What is suspicious about data, grid or fit.
    estimator : object
        The fitted estimator; not for serialising.
    fit_seconds : float
        Of all fits, those of the grid included.
    """

    chosen: dict[str, float]
    chosen_by: Criterion | None
    curve: list[CurvePoint]
    metrics: ClassificationMetrics | MultilabelMetrics
    converged: bool
    warnings: list[str]
    estimator: Any
    fit_seconds: float


def run_probe(
    request: ProbeRequest,
    train: Part,
    val: Part | None,
    test: Part,
    n_classes: int,
    *,
    progress: Callable[[str], None] | None = None,
) -> ProbeOutcome:
    """Fit the probe that `request` names and score it on `test`.

    Parameters
    ----------
    request : ProbeRequest
    train : Part
    val : Part or None
        Rows to choose C on, disjoint from `train`. Needed where `needs_validation(request)`.
    test : Part
    n_classes : int
        Number of classes of the data set, K or C.
    progress : callable, optional
        Told one line a fit.

    Returns
    -------
    ProbeOutcome

    Raises
    ------
    BadInput
        If a part is empty, misshapen or not finite; if train has a single class, or none of test's; if there is
        something to choose and no validation part; if the estimator refuses its parameters or the data.
    """
    grid = grid_of(request)
    told = _check(train, val, test, n_classes)
    multilabel = train.y.ndim == 2
    # Some estimators turn flags into -1 and 1 in place, which uint8 cannot hold.
    x, y = _widened(request, train.x), train.y.astype(np.int64)
    curve: list[CurvePoint] = []
    criterion: Criterion | None = None

    def fit(C: float | None) -> Fitted:
        estimator = make_estimator(request) if C is None else make_estimator(request, C=C)
        return fit_estimator(for_multilabel(estimator) if multilabel else estimator, x, y)

    best = grid[0] if grid else None
    if len(grid) > 1:
        if val is None:
            raise BadInput(
                f"{len(grid)} values of C to choose from and no validation rows",
                hint="Give a validation part (stratified_holdout draws one from train), or a single C.",
            )
        together = make_estimator(request)
        many = fit_grid(together, x, y, grid) if hasattr(together, "fit_many") else None
        chosen, criterion, curve = choose_C(
            grid,
            fit if many is None else many.__getitem__,
            lambda fitted: _validation_scores(fitted, val, n_classes),
            prefer=request.choose_by,
            progress=progress,
        )
        told += _doubts_about(chosen, curve)
        best = chosen
        x, y = np.concatenate([x, val.x]), np.concatenate([y, val.y.astype(np.int64)])
    elif val is not None:
        told.append(f"the {len(val.x)} validation rows were not used: there is nothing to choose")

    final = fit(best)
    if progress is not None:
        progress(f"fitted on {len(x)} rows in {final.seconds:.1f} s")
    prediction = predict(final.estimator, test.x, n_classes, multilabel=multilabel)
    metrics: ClassificationMetrics | MultilabelMetrics
    if multilabel:
        metrics = multilabel_metrics(test.y.astype(np.uint8), prediction.scores, prediction.labels.astype(np.uint8))
    else:
        labels = prediction.labels.astype(np.int64)
        metrics = classification_metrics(test.y.astype(np.int64), prediction.scores, labels, n_classes)
    return ProbeOutcome(
        chosen={} if best is None else {"C": best},
        chosen_by=criterion,
        curve=curve,
        metrics=metrics,
        converged=final.converged,
        warnings=[*told, *final.warnings],
        estimator=final.estimator,
        fit_seconds=final.seconds + sum(point["seconds"] for point in curve),
    )


def _widened(request: ProbeRequest, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | npt.NDArray[np.float64]:
    named = NAMED.get(request.probe)
    return x.astype(np.float64) if named is not None and named.float64 else x


def _validation_scores(fitted: Fitted, val: Part, n_classes: int) -> ValidationScores:
    if val.y.ndim == 2:
        scores = predict(fitted.estimator, val.x, n_classes, multilabel=True).scores
        return ValidationScores(map=None if scores is None else mean_average_precision(val.y.astype(np.uint8), scores))
    labels = val.y.astype(np.int64)
    predicted = predict(fitted.estimator, val.x, n_classes, multilabel=False).labels
    probabilities = class_probabilities(fitted.estimator, val.x, n_classes)
    return ValidationScores(
        nll=None if probabilities is None else negative_log_likelihood(labels, probabilities),
        top1=float(np.mean(predicted == labels)),
    )


def _doubts_about(best: float, curve: list[CurvePoint]) -> list[str]:
    doubts = []
    if best in (curve[0]["C"], curve[-1]["C"]):
        doubts.append(f"the best C, {best:g}, is at the end of the grid: a wider grid may do better")
    if stopped := [f"{point['C']:g}" for point in curve if not point["converged"]]:
        doubts.append(f"validation fits that did not converge: C = {', '.join(stopped)}")
    return doubts


def _check(train: Part, val: Part | None, test: Part, n_classes: int) -> list[str]:
    """Refuse what cannot be fitted or scored; return what is merely suspicious."""
    parts = {"train": train, "test": test} if val is None else {"train": train, "validation": val, "test": test}
    for name, part in parts.items():
        _check_part(name, part, n_classes)
        if part.x.shape[1] != train.x.shape[1] or part.y.ndim != train.y.ndim:
            raise BadInput(
                f"the {name} part does not match train: other dimensions, or other kind of labels",
                hint="Take both parts from feature sets of one encoder and one data set.",
                key=name,
                expected=train.x.shape,
                found=part.x.shape,
            )
    seen, scored = _present(train, n_classes), _present(test, n_classes)  # [C] each
    if train.y.ndim == 1 and seen.sum() < 2:
        raise BadInput("train has a single class", hint="A probe needs rows of at least two classes.", key="train")
    if not (seen & scored).any():
        raise BadInput(
            "train and test have no class in common", hint="Check that both name their classes alike.", key="test"
        )
    told = []
    if missing := int((~seen).sum()):
        told.append(f"{missing} of {n_classes} classes have no train row")
    if unseen := int((scored & ~seen).sum()):
        told.append(f"{unseen} of test's classes have no train row: they cannot be predicted right")
    if constant := int((np.ptp(train.x, axis=0) == 0).sum()):
        told.append(f"{constant} of {train.x.shape[1]} features are constant over train")
    return told


def _check_part(name: str, part: Part, n_classes: int) -> None:
    x, y = part.x, part.y
    problem = None
    if x.ndim != 2 or y.ndim not in (1, 2) or len(x) != len(y):
        problem = f"needs features [n, d] and as many labels, not {x.shape} and {y.shape}"
    elif x.size == 0:
        problem = "has no rows" if len(x) == 0 else "has no features"
    elif y.dtype.kind not in "biu":
        problem = f"has labels of dtype {y.dtype}, not integers"
    elif y.ndim == 2 and (y.shape[1] != n_classes or n_classes < 2):
        problem = f"has {y.shape[1]} flags a row, not one for each of {n_classes} classes (two at least)"
    elif y.min() < 0 or y.max() >= (n_classes if y.ndim == 1 else 2):
        problem = f"has labels from {y.min()} to {y.max()}, outside 0 … {(n_classes if y.ndim == 1 else 2) - 1}"
    elif bad := int((~np.isfinite(x).all(axis=1)).sum()):
        problem = f"has {bad} rows with NaN or infinite features"
    if problem is not None:
        raise BadInput(f"the {name} part {problem}", hint="Check the feature set that it was read from.", key=name)


def _present(part: Part, n_classes: int) -> npt.NDArray[np.bool_]:
    """Which classes have a row (a positive) in `part`, bool [n_classes]."""
    labels = part.y if part.y.ndim == 1 else np.nonzero(part.y)[1]
    return np.bincount(labels.astype(np.int64), minlength=n_classes) > 0
