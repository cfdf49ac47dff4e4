"""Two models in one column: the difference of their scores on the same test rows, and how sure it is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import JsonValue

from ...amounts import count
from ..metrics.paired_bootstrap import PairedInterval, paired_map_interval, paired_recall_interval
from .aligned import PredictionReader
from .cells import Cell
from .column_tests import LEVEL, CellTests, shared_draws, tests_of
from .contrasts import ClassDifference, Example, class_differences, examples
from .paired_tests import interval_p
from .places import Column
from .row_shares import EXACT
from .settings import PROBE, difference


@dataclass(frozen=True)
class PairComparison:
    """How two models differ in one column.

    Parameters
    ----------
    a, b : str
        Models, with what tells apart several extractions of one.
    column : Column
    trials : pair of tuple of str
        Ids of the trials that are compared, of either.
    set : str or None
        Id of the set that has the test rows; None if the rows are not known.
    rows, draws : int
        Test rows and draws that both have.
    score_a, score_b, difference : float
        On these rows, means over these draws; and a less b.
    low, high : float
        Ends of the 95 % interval of the difference.
    p : float
        Two-sided, of the test that `test` names; what is said of the difference rests on it.
    p_corrected : float
        The same, corrected for all comparisons of the call (Holm).
    p_bootstrap : float or None
        By the paired bootstrap, of single draws.
    test : str
        ``McNemar, exact``, ``sign flips``, ``infinitesimal jackknife``, ``t over rows and draws``, or ``intervals``
        where the predictions are not kept.
    only_a, only_b : int
        Rows that one has right in every draw, and the other in none.
    classes : tuple of ClassDifference
        Those that differ most surely first.
    examples : tuple of Example
    notes : tuple of str
    same_rows : bool
        Whether both were tested on the same samples, as far as it is known.
    """

    a: str
    b: str
    column: Column
    trials: tuple[tuple[str, ...], tuple[str, ...]]
    set: str | None
    rows: int
    draws: int
    score_a: float
    score_b: float
    difference: float
    low: float
    high: float
    p: float
    p_corrected: float
    p_bootstrap: float | None
    test: str
    only_a: int
    only_b: int
    classes: tuple[ClassDifference, ...]
    examples: tuple[Example, ...]
    notes: tuple[str, ...]
    same_rows: bool = True

    @property
    def differs(self) -> bool:
        """Whether the difference is significant at 5 %, corrected for all comparisons of the call."""
        return self.p_corrected <= LEVEL

    @property
    def sentence(self) -> str:
        """What was found, with its uncertainty."""
        drawn = "" if self.column.draw == "all" else f", {self.column.draw}"
        where = f"in {self.column.metric} on {self.column.dataset} with {self.column.what}{drawn}"
        sign = 1 if self.difference >= 0 else -1
        better, worse = (self.a, self.b) if sign > 0 else (self.b, self.a)
        low, high = sorted((100 * sign * self.low, 100 * sign * self.high))
        seen = [f"95 %: {low:.1f} to {high:.1f}", p_text(self.p_corrected), count(self.rows, "test row")]
        if self.draws > 1:
            seen.append(count(self.draws, "draw"))
        doubt = f"({', '.join(seen)})"
        points = f"{100 * abs(self.difference):.1f} points"
        if self.differs:
            return f"{better} is {points} better than {worse} {where} {doubt}"
        return f"{self.a} and {self.b} cannot be told apart {where}: {better} is {points} higher {doubt}"

    @property
    def document(self) -> dict[str, JsonValue]:
        """The JSON form."""
        fields: dict[str, JsonValue] = asdict(self)
        return {"sentence": self.sentence, "differs": self.differs, **fields}


def p_text(p: float) -> str:
    """Return a p value as it is printed.

    Examples
    --------
    >>> p_text(0.0000001), p_text(0.00234), p_text(0.44)
    ('p < 0.0001', 'p = 0.0023', 'p = 0.44')
    """
    if p < 0.0001:
        return "p < 0.0001"
    return f"p = {p:.2f}" if p >= 0.095 else f"p = {p:.2g}"


def compare_pair(
    reader: PredictionReader, labels: tuple[str, str], column: Column, cells: tuple[Cell, Cell], top: int
) -> PairComparison | str:
    """Compare two cells.

    Parameters
    ----------
    reader : PredictionReader
    labels : pair of str
        What the two are called.
    column : Column
    cells : pair of Cell
        With the same metric.
    top : int
        Samples to list that only one has right, of either.

    Returns
    -------
    PairComparison or str
        Or why they cannot be compared.
    """
    tested = tests_of(reader, cells, *shared_draws(cells))
    found, notes = tested.tests, [*_differing(cells), *tested.notes]
    if tested.doubted:
        return f"{column.text}: {labels[0]} and {labels[1]} are not compared: {'; '.join(notes)}"
    if found is None:
        kept = all(reader.kept(trial) is not None for cell in cells for trial in cell.trials)
        reader.forget()
        if not tested.shared and (kept or len({cell.column.dataset for cell in cells}) > 1):
            why = "; ".join(["they share no test sample", *notes])
            return f"{column.text}: {labels[0]} and {labels[1]} cannot be compared: {why}"
        return _by_intervals(labels, column, cells, notes)
    tests, aligned = found.tests, found.aligned
    difference, error = float(tests.difference[0, 1]), float(tests.error[0, 1])
    draws = found.index.shape[1]
    bootstrapped = _bootstrap(found, column.metric) if draws == 1 else None
    if bootstrapped is None:
        low, high = _student(difference, error, float(tests.freedom[0, 1]))
    else:
        low, high = bootstrapped.low, bootstrapped.high
    counts, listed = examples(aligned, found.index, lambda rows: reader.names_of(aligned.set, rows), top)
    p = float(tests.p[0, 1])
    if draws == 1 and any(cell.varies for cell in cells):
        notes.append(
            "a single draw each, so the doubt is of test rows alone: other draws or seeds of one probe may differ more "
            "(probe --seeds 5)"
        )
    return PairComparison(
        a=labels[0],
        b=labels[1],
        column=column,
        trials=(_ids(found, 0), _ids(found, 1)),
        set=aligned.set,
        rows=len(aligned.rows),
        draws=draws,
        score_a=float(found.scores[0]),
        score_b=float(found.scores[1]),
        difference=difference,
        low=low,
        high=high,
        p=p,
        p_corrected=p,
        p_bootstrap=None if bootstrapped is None else bootstrapped.p,
        test=tests.name,
        only_a=counts[0],
        only_b=counts[1],
        classes=tuple(class_differences(aligned, found.index)),
        examples=tuple(listed),
        notes=tuple(f"{column.text}: {note}" for note in notes),
        same_rows=tested.same_rows,
    )


def _differing(cells: tuple[Cell, Cell]) -> list[str]:
    """Say in what else than the model two cells differ."""
    one, other = (cell.trials[0] for cell in cells)
    alike = one.what == other.what and cells[0].column.what == cells[1].column.what
    what = difference(one, other, but=() if alike else PROBE)
    return [f"the two differ not only in the model: {what}"] if what else []


def _ids(found: CellTests, side: int) -> tuple[str, ...]:
    return tuple(found.aligned.trials[i].trial for i in found.index[side])


def _bootstrap(found: CellTests, metric: str) -> PairedInterval:
    """Return the paired bootstrap of single draws."""
    aligned, (a, b) = found.aligned, found.index[:, 0].tolist()
    if metric == "map":
        return paired_map_interval(aligned.flags, (aligned.values[a], aligned.values[b]))
    right = aligned.right(a), aligned.right(b)
    return paired_recall_interval(aligned.labels, right, per_class=metric != EXACT)


def _student(difference: float, error: float, freedom: float) -> tuple[float, float]:
    """Return the 95 % interval of a mean difference with so many degrees of freedom."""
    from scipy.stats import t

    half = float(t.ppf(0.975, freedom)) * error if error > 0 else 0.0
    return max(difference - half, -1.0), min(difference + half, 1.0)


def _by_intervals(
    labels: tuple[str, str], column: Column, cells: tuple[Cell, Cell], notes: list[str]
) -> PairComparison | str:
    """Compare two scores by their own intervals: nothing is known of the rows."""
    scores, half = [], []
    for cell in cells:
        if cell.score is None or cell.low is None or cell.high is None:
            why = "; ".join([f"{cell.model} has no interval", *notes])
            return f"{column.text}: {labels[0]} and {labels[1]} cannot be compared: {why}"
        scores.append(cell.score)
        half.append((cell.high - cell.low) / 2)
    difference, spread = scores[0] - scores[1], math.hypot(*half)
    p = float(interval_p(np.array(scores), np.array(half))[0, 1])
    said = [*notes, "compared by intervals, which finds less than a paired test"]
    return PairComparison(
        a=labels[0],
        b=labels[1],
        column=column,
        trials=(tuple(t.trial for t in cells[0].trials), tuple(t.trial for t in cells[1].trials)),
        set=None,
        rows=min(cell.trials[0].rows.test for cell in cells),
        draws=min(len(cell.trials) for cell in cells),
        score_a=scores[0],
        score_b=scores[1],
        difference=difference,
        low=difference - spread,
        high=difference + spread,
        p=p,
        p_corrected=p,
        p_bootstrap=None,
        test="intervals",
        only_a=0,
        only_b=0,
        classes=(),
        examples=(),
        notes=tuple(f"{column.text}: {note}" for note in said),
        same_rows=len({trial.rows.test for cell in cells for trial in cell.trials}) == 1,
    )
