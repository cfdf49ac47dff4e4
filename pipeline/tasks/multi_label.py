"""Any number of labels a row: a 0/1 flag for each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Features, Indices, Int64, Mask, Targets
from ...errors import BadInput
from ..metrics.bootstrap import multilabel_intervals
from ..metrics.ranking import mean_eleven_point_average_precision
from ..metrics.scores import mean_average_precision, multilabel_metrics
from .base import FLAG_SCORES, INTERVAL_SEED, Prediction, Task, TestScores, ValidationScores
from .outputs import flag_scores, votes_of


class MultiLabel(Task):
    """Targets are flags, uint8 [n, C]."""

    name = "multi-label"
    score = "map"
    exclusive = False
    targets = "flags"
    dtype = np.uint8

    def shape(self, n: int, n_classes: int) -> tuple[int, ...]:
        return (n, n_classes)

    def values(self, n_classes: int) -> int:
        return 2

    def problem(self, y: Targets, n_classes: int) -> str | None:
        if y.dtype.kind in "biu" and (y.shape[1] != n_classes or n_classes < 2):
            return f"has {y.shape[1]} flags a row, not one for each of {n_classes} classes (two at least)"
        return super().problem(y, n_classes)

    def check_trainable(self, y: Targets) -> None:
        if not (y != y[:1]).any():
            raise BadInput(
                "no flag is set in some train rows and not in others",
                hint="A probe needs rows with a flag and rows without it.",
                key="train",
            )

    def warnings(self, y: Targets) -> list[str]:
        if always := int(y.all(axis=0).sum()):
            return [f"{always} of {y.shape[1]} flags are set in every train row: they are predicted always"]
        return []

    def rows_per_class(self, y: Targets, n_classes: int) -> Int64:
        return np.asarray(y.sum(axis=0, dtype=np.int64))

    def codes(self, y: Targets) -> Int64:
        return np.unique(y, axis=0, return_inverse=True)[1].reshape(-1)

    def recoded(self, y: Targets, places: Indices, n_classes: int) -> Targets:
        flags = np.zeros((len(y), n_classes), np.uint8)
        flags[:, places] = y
        return flags

    def widened(self, y: Targets, n_classes: int) -> Targets:
        return y if y.shape[1] == n_classes else self.recoded(y, np.arange(y.shape[1]), n_classes)

    def draw_shots(self, y: Targets, shots: int, then: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Take rows in random order as long as one of their flags has been taken too seldom."""
        order = rng.permutation(len(y))
        taken = until_each_has(y[order], shots)
        left = order[~taken]
        return order[taken], left[until_each_has(y[left], then)]

    def draw_fraction(self, y: Targets, fraction: float, rng: np.random.Generator) -> Indices:
        """Draw a share of all rows; ascending."""
        return np.sort(rng.permutation(len(y))[: max(1, round(fraction * len(y)))])

    def hold_out(self, y: Targets, fraction: float, rng: np.random.Generator) -> Mask:
        """Hold out rows so that each flag gives its share of its rows; see `_dealt_out`."""
        order = rng.permutation(len(y))
        is_held = np.zeros(len(y), dtype=bool)
        is_held[order[_dealt_out(y.astype(bool)[order], fraction)]] = True
        return is_held

    def is_mixed(self, y: Targets) -> bool:
        """Return True: a row with several flags stands between its classes wherever it is."""
        return True

    def read(self, estimator: Any, x: Features, n_classes: int) -> Prediction:
        if (votes := votes_of(estimator, x)) is not None:
            return Prediction(estimator.decided(votes.shares), votes.shares, tied=votes.tied)
        return Prediction(np.asarray(estimator.predict(x)), flag_scores(estimator, x))

    def has_score(self, name: str) -> bool:
        return name in FLAG_SCORES

    def score_of(self, y: Targets, prediction: Prediction) -> float | None:
        return None if prediction.scores is None else mean_average_precision(y.astype(np.uint8), prediction.scores)

    def test_scores(self, y: Targets, prediction: Prediction, n_classes: int) -> TestScores:
        flags, claimed, scores = y.astype(np.uint8), prediction.labels.astype(np.uint8), prediction.scores
        return TestScores(
            multilabel_metrics(flags, scores, claimed, ranking=True),
            multilabel_intervals(flags, scores, claimed, seed=INTERVAL_SEED),
        )

    def validation_scores(self, y: Targets, prediction: Prediction, n_classes: int, *, also: str) -> ValidationScores:
        if prediction.scores is None:
            return ValidationScores()
        flags = y.astype(np.uint8)
        return ValidationScores(
            map=mean_average_precision(flags, prediction.scores),
            map_11_point=mean_eleven_point_average_precision(flags, prediction.scores),
        )


def until_each_has(flags: Targets, enough: int) -> Mask:
    """Return which rows are taken when going through them, while one of a row's flags has been taken too seldom.

    Examples
    --------
    >>> until_each_has(np.array([[1, 0], [1, 0], [1, 1]]), enough=1).tolist()
    [True, False, True]
    """
    taken = np.zeros(len(flags), dtype=bool)
    counts = np.zeros(flags.shape[1], dtype=np.int64)
    for i, row in enumerate(flags.astype(bool)):
        if (counts[row] < enough).any():
            taken[i] = True
            counts[row] += 1
    return taken


def _dealt_out(flags: Mask, fraction: float) -> Mask:
    """Return which rows are held out if they are dealt out in their order, bool [n].

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, algorithm 1) for two parts: the rows of the flag
    with the fewest rows left are dealt out first, rows without a flag last. A row goes to the part that is further from
    its quota, in relative terms, summed over all of the row's flags and the rows themselves; the paper asks the rarest
    flag alone, which leaves frequent ones to chance if rows have many. Ties keep a row, and so does a flag that would
    be left without one. The number of rows is exact.

    Parameters
    ----------
    flags : ndarray, bool [n, C]
        In random order.
    fraction : float
    """
    n = len(flags)
    quota = min(max(round(fraction * n), 1), n - 1)
    # Two more columns: rows without a flag, and all rows.
    none = ~flags.any(axis=1, keepdims=True)
    flags = np.concatenate([flags, none, np.ones_like(none)], axis=1)
    left = flags.sum(axis=0)  # [C + 2], rows that are not dealt out yet
    share = quota / n
    per_row = 1 / np.maximum([(1 - share) * left, share * left], 1e-9)  # [2, C + 2], what a row is of a part's quota
    need = np.ones_like(per_row)  # what is missing of each
    kept = np.zeros(len(left), dtype=np.int64)
    held, dealt = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    room, to_deal = quota, n
    while to_deal:
        open_flags = np.flatnonzero(left[:-1])
        rarest = open_flags[np.argmin(left[open_flags])]
        for row in np.flatnonzero(flags[:, rarest] & ~dealt):
            own = np.flatnonzero(flags[row])  # the last of them is that of all rows
            last_chance = bool(((left[own] == 1) & (kept[own] == 0))[own < len(left) - 2].any())
            wants = float((need[1, own] - need[0, own]).sum()) > 1e-9
            part = int(room > 0 and ((wants and not last_chance) or room >= to_deal))
            held[row], dealt[row] = part == 1, True
            need[part, own] -= per_row[part, own]
            left[own] -= 1
            kept[own] += part == 0
            room, to_deal = room - part, to_deal - 1
    return held
