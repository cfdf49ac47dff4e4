"""From a request and rows to a scored probe: check, choose, fit, score on test.

Where a value is chosen, it is chosen on the validation part, and the probe is then fitted anew on train and validation
together. Where there is nothing to choose, the validation part is not used at all: the probe is fitted on train, and
`ProbeOutcome.warnings` says so. Test labels are read only to be checked and to score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...arrays import Targets
from ...errors import BadInput
from ..metrics.bootstrap import Interval
from ..metrics.scores import ClassificationMetrics, MultilabelMetrics
from ..tasks import Prediction
from .build import at_value, for_task, grid_of, make_estimator, weigh_by_name
from .checks import check_parts
from .labelled_features import LabelledFeatures
from .registry import named_probe
from .request import ProbeRequest
from .selection import CurvePoint, choose, end_of_grid, score_validation
from .sklearn_calls import Fitted, fit_estimator, fit_grid, predict

_WORTH_SAYING = 0.01
"""Share of the test rows from which equal votes are worth a warning: a few are usual."""


@dataclass(frozen=True)
class ProbeOutcome:
    """A probe that was fitted and scored.

    Parameters
    ----------
    chosen : dict
        The value that the probe was fitted with, under its parameter's name, ``{"C": 10.0}``; empty for an estimator
        without a grid.
    chosen_by : str or None
        The validation score that chose it: ``nll``, ``top1`` or ``map``; None where nothing was chosen.
    curve : list of CurvePoint
        Validation scores of every value that was tried; empty where nothing was chosen.
    metrics : dict
        On test; see `classification_metrics` and `multilabel_metrics`.
    intervals : dict
        Of the metrics, 95 %; see `classification_intervals`.
    converged : bool
        Whether the final fit reached its optimum.
    warnings : list of str
        What is suspicious about data, grid or fit.
    estimator : object
        The fitted estimator; not for serialising.
    fit_seconds : float
        Of all fits, those of the grid included.
    solver : dict
        Of the final fit: ``name``, ``rows`` (how many it was fitted on), ``iterations``, ``gradient_norm``,
        ``objective``, ``gap``; None where it does not say.
    more : dict
        What else a protocol reports.
    remarks : list of str
        What sets the result apart from what was asked for.
    """

    chosen: dict[str, float]
    chosen_by: str | None
    curve: list[CurvePoint]
    metrics: ClassificationMetrics | MultilabelMetrics
    intervals: dict[str, Interval | None]
    converged: bool
    warnings: list[str]
    estimator: Any
    fit_seconds: float
    solver: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Choice:
    """What was chosen, and how.

    Parameters
    ----------
    chosen : mapping
        The value of each parameter that was chosen, or given; empty if there was nothing to choose.
    by : str or None
        The validation score that chose it.
    curve : sequence of CurvePoint
        Of every value.
    """

    chosen: Mapping[str, float] = field(default_factory=dict)
    by: str | None = None
    curve: Sequence[CurvePoint] = ()


def run_probe(
    request: ProbeRequest,
    train: LabelledFeatures,
    val: LabelledFeatures | None,
    test: LabelledFeatures,
    classes: int | Sequence[str],
    *,
    refit: bool = True,
    memory: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> ProbeOutcome:
    """Fit the probe that `request` names and score it on `test`.

    Parameters
    ----------
    request : ProbeRequest
    train : LabelledFeatures
    val : LabelledFeatures or None
        Rows to choose on, disjoint from `train`. Needed where `needs_validation(request)`.
    test : LabelledFeatures
    classes : sequence of str, or int
        Names of the classes of the data set, by which a ``class_weight`` may be given; or only their number, K or C.
    refit : bool
        Fit on train and validation rows together, once a value is chosen; False where the number of training rows is
        what a score stands for, as in few-shot trials.
    memory : int, optional
        Bytes that a fit may take beside its features.
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
    n_classes, names = (classes, ()) if isinstance(classes, int) else (len(classes), classes)
    neighbours = request.probe == "knn"
    warnings = check_parts(train, val, test, n_classes, ordered=neighbours)
    grid, cut = _that_can_vote(request, len(train)) if neighbours else (grid_of(request), [])

    def build(value: float | None) -> Any:
        estimator = make_estimator(request) if value is None else at_value(request, value)
        if memory is not None and _streams(estimator):
            estimator.set_params(memory=memory)
        weigh_by_name(estimator, names, train.task)
        return for_task(estimator, train.task)

    best = grid[0] if grid else None
    choice = Choice()
    many: dict[float, Fitted] | None = None
    if len(grid) > 1:
        if val is None:
            raise BadInput(
                f"{len(grid)} values of {request.tune} to choose from and no validation rows",
                hint="Name a validation split, draw fewer shots so that rows are left to choose on, or give one value.",
            )
        many = _fit_together(request, build(grid[0]), train, grid)
        best, choice, on_choice = _choose(request, grid, train, val, n_classes, build, many, progress)
        warnings += on_choice
    elif val is not None:
        warnings.append(f"the {len(val)} validation rows were not used: there is nothing to choose")
    rows = train.joined(val) if refit and len(grid) > 1 and val is not None else train
    if many is not None and best is not None and rows is train:
        final = replace(many[best], seconds=0.0)  # which the curve has already
    else:
        final = fit(begin(build(best), None if many is None or best is None else many[best]), rows)
    if progress is not None:
        progress(f"fitted on {len(rows)} rows in {final.seconds:.1f} s")
    chosen = {} if best is None else {request.tune: best}
    if neighbours and final.estimator.k_ < final.estimator.k:  # where another parameter than k is tuned
        chosen["k"] = float(final.estimator.k_)
        cut = [_cut_to([final.estimator.k], len(rows))]
    done = outcome(final, rows, test, n_classes, replace(choice, chosen=chosen), warnings=warnings)
    return replace(done, remarks=cut)


def _choose(
    request: ProbeRequest,
    grid: Sequence[float],
    train: LabelledFeatures,
    val: LabelledFeatures,
    n_classes: int,
    build: Callable[[float | None], Any],
    many: Mapping[float, Fitted] | None,
    progress: Callable[[str], None] | None,
) -> tuple[float, Choice, list[str]]:
    """Fit each value on train, or take it from `many`; return the one that does best on `val`, and warnings."""
    best, criterion, curve = choose(
        request.tune,
        grid,
        lambda value: fit(build(value), train) if many is None else many[value],
        lambda fitted: score_validation(fitted.estimator, val, n_classes),
        prefer=request.choose_by,
        progress=progress,
    )
    warnings = []
    if any(point.score(request.choose_by) is not None for point in curve) and criterion != request.choose_by:
        warnings.append(
            f"{criterion} chooses: for some values of {request.tune} a validation row gives its class the "
            f"probability 0, and {request.choose_by} is infinite"
        )
    return best, Choice(by=criterion, curve=curve), [*warnings, *_curve_warnings(request.tune, best, curve)]


def outcome(
    final: Fitted,
    fitted_on: LabelledFeatures,
    test: LabelledFeatures,
    n_classes: int,
    choice: Choice,
    *,
    warnings: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
    prediction: Prediction | None = None,
) -> ProbeOutcome:
    """Score a final fit on `test`, by its prediction if that is given, and put together what is known of it."""
    if not final.converged:
        warnings = [*warnings, f"the final fit did not converge: {_how_far(final)}"]
    prediction = prediction or predict(final.estimator, test, n_classes, in_float64=True)
    metrics, intervals = test.task.test_scores(test.y, prediction, n_classes)
    warnings = [*warnings, *_probability_warnings(metrics, prediction, test)]
    if prediction.tied is not None:
        warnings = [*warnings, *_vote_warnings(final.estimator, prediction, len(fitted_on))]
    return ProbeOutcome(
        chosen=dict(choice.chosen),
        chosen_by=choice.by,
        curve=list(choice.curve),
        metrics=metrics,
        intervals=intervals,
        converged=final.converged,
        warnings=[*warnings, *final.warnings],
        estimator=final.estimator,
        fit_seconds=final.seconds + sum(point.seconds for point in choice.curve),
        solver={
            "name": type(final.estimator).__name__,
            "rows": len(fitted_on),
            "iterations": final.iterations,
            "gradient_norm": final.gradient_norm,
            "objective": final.objective,
            "gap": final.gap,
        },
        more=dict(more or {}),
    )


def _how_far(final: Fitted) -> str:
    if final.gap is not None:
        return f"its objective may be {100 * final.gap:.2g} % above the optimum"
    if final.gradient_norm is not None:
        return f"gradient norm {final.gradient_norm:.3g}"
    return "how far it is from its optimum is not known"


def fit(estimator: Any, part: LabelledFeatures) -> Fitted:
    """Fit on a part; `BadInput` where its rows are read block by block and the estimator takes a matrix."""
    return fit_estimator(estimator, rows_for(estimator, part), targets_of(part))


def targets_of(part: LabelledFeatures) -> Targets:
    """Return labels as int64: some estimators turn flags into -1 and 1 in place, which uint8 cannot hold."""
    return part.y.astype("int64")


def rows_for(estimator: Any, part: LabelledFeatures) -> Any:
    """Return the rows as the estimator takes them: rotated or block by block if it can use them so, else a matrix."""
    return part.for_logistic if _streams(estimator) else part.matrix


def _streams(estimator: Any) -> bool:
    return bool(getattr(estimator, "reads_blocks", False))


def _that_can_vote(request: ProbeRequest, rows: int) -> tuple[tuple[float, ...], list[str]]:
    """Return the grid of nearest neighbours with k cut to the training rows, and what is to be said of it."""
    grid = grid_of(request)
    if request.tune != "k" or not (larger := [k for k in grid if k > rows]):
        return grid, []
    return tuple(sorted({min(k, float(rows)) for k in grid})), [_cut_to(larger, rows)]


def _cut_to(ks: Sequence[float], rows: int) -> str:
    return f"k = {', '.join(f'{k:g}' for k in ks)} was cut to {rows}: there are no more training rows that can vote"


def _probability_warnings(
    metrics: ClassificationMetrics | MultilabelMetrics, prediction: Prediction, test: LabelledFeatures
) -> list[str]:
    """Say of which rows the likelihood and calibration are, if not of all, or why there are none."""
    p = prediction.probabilities
    if p is None:
        return []
    n, seen = len(test), int(metrics.get("nll_rows", 0))  # type: ignore[call-overload]
    warnings = []
    if 0 < seen < n:
        warnings.append(f"nll and ece are of {seen:,} of {n:,} test rows: the others' classes have no train row")
    if without := int((p[np.arange(n), test.y.astype(np.int64)] == 0).sum()):
        warnings.append(
            f"nll and ece are left out: {without:,} of {n:,} test rows give their class no vote, "
            "and the logarithm of 0 is infinite"
        )
    return warnings


def _vote_warnings(estimator: Any, prediction: Prediction, rows: int) -> list[str]:
    """Say where votes, or who casts them, are decided by the order of rows or classes."""
    k, tied = int(estimator.k_), prediction.tied
    assert tied is not None
    n, warnings = len(tied), []
    if k == rows and estimator.weights == "uniform":
        return [f"all {rows:,} training rows vote on every test row: with so large a k all predictions are the same"]
    if across := int(tied.sum()):
        warnings.append(
            f"for {across:,} of {n:,} test rows the neighbours number {k} and {k + 1} are equally near: "
            "the order of the training rows decides which of them votes"
        )
    if prediction.probabilities is not None:
        votes = np.nan_to_num(prediction.probabilities, nan=-1.0)
        equal = int((np.isclose(votes, votes.max(axis=1, keepdims=True), rtol=0, atol=1e-12).sum(axis=1) > 1).sum())
        if equal >= _WORTH_SAYING * n:
            warnings.append(
                f"for {equal:,} of {n:,} test rows several classes have the most votes: the first is predicted"
            )
    return warnings


def _fit_together(
    request: ProbeRequest, estimator: Any, train: LabelledFeatures, grid: Sequence[float]
) -> dict[float, Fitted] | None:
    """Fit all values at once, where the probe can; None elsewhere."""
    named = named_probe(request.probe)
    if named is None or request.tune != named.tune or not hasattr(estimator, "fit_many"):
        return None
    fitted = fit_grid(estimator, rows_for(estimator, train), targets_of(train), grid)
    return dict(zip(grid, fitted, strict=True))


def begin(estimator: Any, like: Fitted | None) -> Any:
    """Return the estimator, or where it can begin with the weights of another fit the one that was fitted so far."""
    if like is None or "warm_start" not in estimator.get_params():
        return estimator
    return like.estimator.set_params(warm_start=True)


def _curve_warnings(name: str, best: float, curve: list[CurvePoint]) -> list[str]:
    warnings = end_of_grid(name, best, [point.value for point in curve])
    if stopped := [f"{point.value:g}" for point in curve if not point.converged]:
        warnings.append(f"validation fits that did not converge: {name} = {', '.join(stopped)}")
    return warnings
