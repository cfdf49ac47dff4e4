"""Choosing: which value does best on validation rows. Test rows never come here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from ...errors import BadInput
from ..tasks import ValidationScores
from .labelled_features import LabelledFeatures
from .sklearn_calls import Fitted, predict

Criterion = Literal["nll", "top1", "map", "mean_per_class_recall", "map_11_point", "roc_auc", "mean_top1_top5"]

_LOWER_IS_BETTER = ("nll",)

_IF_CHOOSES = ("roc_auc", "mean_top1_top5")
"""Scores that a point has only if they choose."""


@dataclass(frozen=True, eq=False)
class CurvePoint(Mapping[str, float | int | bool | None]):
    """One value of a parameter: how it scored on validation rows, and how its fit ended.

    Fields are attributes; and items as well, in their JSON form: ``point["C"]``, ``point["nll"]``.

    Parameters
    ----------
    name : str
        Of the parameter.
    value : float
    scores : ValidationScores
    converged : bool
    iterations : int or None
    gradient_norm, objective, gap : float or None
        See `Fitted`.
    seconds : float
    also : mapping
        Other things that were chosen among, such as ``{"avgpool": 1}``: further items of the JSON form.

    Examples
    --------
    >>> point = CurvePoint("C", 10.0, ValidationScores(nll=0.5, top1=0.9), True, 7, None, None, None, 0.1)
    >>> point["C"], point["nll"], point["map"]
    (10.0, 0.5, None)
    """

    name: str
    value: float
    scores: ValidationScores
    converged: bool
    iterations: int | None
    gradient_norm: float | None
    objective: float | None
    gap: float | None
    seconds: float
    also: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, value: float, fitted: Fitted, scores: ValidationScores, **also: float) -> CurvePoint:
        """Return the point of one value."""
        f = fitted
        ended = (f.converged, f.iterations, f.gradient_norm, f.objective, f.gap, f.seconds)
        return cls(name, value, scores, *ended, also)

    def score(self, name: str) -> float | None:
        """Return one of the scores; None if it does not apply."""
        found: float | None = getattr(self.scores, name)
        return found

    @property
    def document(self) -> dict[str, float | int | bool | None]:
        """The JSON form: the value under the parameter's name, the scores, and the fit."""
        scores = {k: v for k, v in asdict(self.scores).items() if v is not None or k not in _IF_CHOOSES}
        fit = ("converged", "iterations", "gradient_norm", "objective", "gap", "seconds")
        return {self.name: self.value, **self.also, **scores, **{k: getattr(self, k) for k in fit}}

    def __getitem__(self, name: str) -> float | int | bool | None:
        """Return a field of the JSON form."""
        return self.document[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the JSON form."""
        return iter(self.document)

    def __len__(self) -> int:
        """Return the number of fields of the JSON form."""
        return len(self.document)


def score_validation(estimator: Any, val: LabelledFeatures, n_classes: int, *, also: str = "") -> ValidationScores:
    """Score an estimator on validation rows in every way that it can be chosen by.

    Parameters
    ----------
    estimator : object
    val : LabelledFeatures
    n_classes : int
    also : {"", "roc_auc", "mean_top1_top5"}
        A score that is computed only if it chooses; other names change nothing.
    """
    return val.task.validation_scores(val.y, predict(estimator, val, n_classes), n_classes, also=also)


def best_of(
    curve: Sequence[CurvePoint], prefer: Criterion, *, ties: Literal["middle", "first"] = "middle"
) -> tuple[int, Criterion]:
    """Return which point has the best validation score, and the score that says so.

    Parameters
    ----------
    curve : sequence of CurvePoint
    prefer : str
        The score that chooses. If a point does not have it, top1 does, or else map.
    ties : {"middle", "first"}
        Which of equal points is taken; see `middle_of_best`.

    Raises
    ------
    BadInput
        If there is no score that all points have.
    """
    order: tuple[Criterion, ...] = (prefer, "top1", "map")
    criterion = next((c for c in order if all(point.score(c) is not None for point in curve)), None)
    if criterion is None:
        raise BadInput(
            "The probe has no score on the validation part to choose by.",
            hint="Choose on rows with positives and with a probe that ranks, or give a single value.",
        )
    values = np.array([point.score(criterion) for point in curve], dtype=np.float64)
    if criterion in _LOWER_IS_BETTER:
        values = -values
    return (int(np.argmax(values)) if ties == "first" else middle_of_best(values.tolist())), criterion


def middle_of_best(values: Sequence[float], places: Sequence[int] | None = None, size: int | None = None) -> int:
    """Return which of `values` is highest; of several, the middle of the longest run of neighbours that tie.

    On few rows many values of a grid tie, and the first of them is the end of the grid: a choice that no row supports.

    Parameters
    ----------
    values : sequence of float
    places : sequence of int, optional
        Where in the grid each value stands, ascending; by default 0, 1, 2 …
    size : int, optional
        Of the grid. A run of even length has two middles: the one further from the ends of the grid is taken, and the
        first if they are equally far.

    Examples
    --------
    >>> middle_of_best([0.8, 0.9, 0.9, 0.9, 0.7])
    2
    """
    where = range(len(values)) if places is None else places
    last = (len(values) if size is None else size) - 1
    best = max(values)
    runs: list[list[int]] = [[]]
    for i, value in enumerate(values):
        if value == best:
            runs[-1].append(i)
        elif runs[-1]:
            runs.append([])
    run = max(runs, key=len)
    lower, upper = run[(len(run) - 1) // 2], run[len(run) // 2]
    inside = {i: min(where[i], last - where[i]) for i in (lower, upper)}
    return upper if inside[upper] > inside[lower] else lower


def end_of_grid(name: str, best: float, grid: Sequence[float]) -> list[str]:
    """Say that the chosen value is at, or beyond, an end of the grid; nothing for a value inside it.

    Examples
    --------
    >>> end_of_grid("C", 1.0, (0.1, 1.0, 10.0))
    []
    """
    if len(grid) < 2 or min(grid) < best < max(grid):
        return []
    return [f"the best {name}, {best:.6g}, is at the end of the grid: a wider grid may do better"]


def choose(
    name: str,
    grid: Sequence[float],
    fit: Callable[[float], Fitted],
    score: Callable[[Fitted], ValidationScores],
    *,
    prefer: Criterion = "nll",
    progress: Callable[[str], None] | None = None,
) -> tuple[float, Criterion, list[CurvePoint]]:
    """Fit every value, and choose the one with the best validation score; see `middle_of_best` for equal scores.

    The fits are independent of each other: a warm start would save iterations, but then a point's numbers would depend
    on which other values were in the grid.

    Parameters
    ----------
    name : str
        Of the parameter.
    grid : sequence of float
        Ascending.
    fit : callable
        From a value to a fit on the train part.
    score : callable
        From a fit to its scores on the validation part.
    prefer : str
        See `best_of`.
    progress : callable, optional
        Told one line a fit.

    Returns
    -------
    best : float
    criterion : str
        The score that chose.
    curve : list of CurvePoint
        In the order of `grid`.

    Raises
    ------
    BadInput
        If a value has no score.
    """
    curve: list[CurvePoint] = []
    for step, value in enumerate(grid, start=1):
        fitted = fit(value)
        scores = score(fitted)
        curve.append(CurvePoint.of(name, value, fitted, scores))
        if progress is not None:
            state = "" if fitted.converged else ", not converged"
            said = ", ".join(f"{k} {v:.4f}" for k, v in asdict(scores).items() if v is not None)
            progress(f"{name} {value:g} ({step}/{len(grid)}): validation {said}, {fitted.seconds:.1f} s{state}")
    best, criterion = best_of(curve, prefer)
    return grid[best], criterion, curve
