"""From a request and rows to a scored probe: check, choose, fit, score on test.

Where a value is chosen, it is chosen on the validation part, and the probe is then fitted anew on train and validation
together. Where there is nothing to choose, the validation part is not used at all: the probe is fitted on train, and
`ProbeOutcome.warnings` says so. Test labels are read only to be checked and to score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...arrays import Targets
from ...errors import BadInput
from .build import at_value, for_task, grid_of, make_estimator, weigh_by_name
from .checks import check_parts
from .labelled_features import LabelledFeatures
from .outcome import Choice, ProbeOutcome, outcome
from .registry import named_probe
from .request import ProbeRequest
from .selection import CurvePoint, choose, end_of_grid, score_validation
from .sharded_rows import ShardedRows
from .sklearn_calls import Fitted, fit_estimator, fit_grid


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


def fit(estimator: Any, part: LabelledFeatures) -> Fitted:
    """Fit on a part; `BadInput` where its rows are read block by block and the estimator takes a matrix."""
    return fit_estimator(estimator, rows_for(estimator, part), targets_of(part))


def targets_of(part: LabelledFeatures) -> Targets:
    """Return labels as int64: some estimators turn flags into -1 and 1 in place, which uint8 cannot hold."""
    return part.y.astype("int64")


def rows_for(estimator: Any, part: LabelledFeatures) -> Any:
    """Return the rows as the estimator takes them: rotated or block by block if it can use them so, else a matrix."""
    if isinstance(part.x, ShardedRows) and getattr(estimator, "shares_rows", False):
        return part.x
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
