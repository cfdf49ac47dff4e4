"""What is refused, and what is only warned of, before anything is fitted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...arrays import Float32
from ...errors import BadInput
from ..rank_group import RankGroup
from .labelled_features import LabelledFeatures, blocks_of
from .sharded_rows import ShardedRows
from .twins import twin_warnings


class _Columns(NamedTuple):
    """What one pass over the rows shows: rows that are not finite, and the range of every column [d]."""

    not_finite: int
    low: Float32
    high: Float32


def check_parts(
    train: LabelledFeatures,
    val: LabelledFeatures | None,
    test: LabelledFeatures,
    n_classes: int,
    *,
    ordered: bool = False,
) -> list[str]:
    """Refuse what cannot be fitted or scored; return a warning for what is only suspicious.

    Parameters
    ----------
    train, val, test : LabelledFeatures
    n_classes : int
    ordered : bool
        Whether the order of the training rows decides between equal ones, as it does for nearest neighbours.

    Raises
    ------
    BadInput
        If a part is empty, misshapen or not finite, or has a label outside the class list; if train has a single class,
        or none of test's or of the validation part's; if no flag varies over train.
    """
    parts = {"train": train, "test": test} if val is None else {"train": train, "validation": val, "test": test}
    columns = {name: _check_part(name, part, n_classes) for name, part in parts.items()}
    for name, part in parts.items():
        if part.x.shape[1] != train.x.shape[1] or part.task != train.task:
            raise BadInput(
                f"the {name} part does not match train: other dimensions, or other kind of labels",
                hint="Take both parts from feature sets of one encoder and one data set.",
                key=name,
                expected=train.x.shape,
                found=part.x.shape,
            )
    task = train.task
    task.check_trainable(train.y)
    seen, scored = (task.rows_per_class(part.y, n_classes) > 0 for part in (train, test))  # [C] each
    if not (seen & scored).any():
        raise BadInput(
            "train and test have no class in common", hint="Check that both name their classes alike.", key="test"
        )
    chosen_on = None if val is None else task.rows_per_class(val.y, n_classes) > 0
    if chosen_on is not None and chosen_on.any() and not (seen & chosen_on).any():
        raise BadInput(
            "train and the validation rows have no class in common: nothing can be chosen on them",
            hint="Check that both name their classes alike, or take a share of train: --val-split 0.1",
            key="val-split",
        )
    warnings = []
    if missing := int((~seen).sum()):
        warnings.append(f"{missing} of {n_classes} classes have no train row")
    warnings += task.warnings(train.y)
    if unseen := int((scored & ~seen).sum()):
        warnings.append(f"{unseen} of test's classes have no train row: they cannot be predicted right")
    if unscored := int((seen & ~scored).sum()):
        warnings.append(f"{unscored} of train's classes have no test row: nothing is known of them")
    if chosen_on is not None:
        if unchosen := int((seen & ~chosen_on).sum()):
            warnings.append(f"{unchosen} of train's classes have no validation row")
        if unknown := int((chosen_on & ~seen).sum()):
            warnings.append(f"{unknown} of the validation rows' classes have no train row: they count as wrong")
    # Of a handful of rows, features that are often 0 are constant as a matter of course.
    constant = int((columns["train"].low == columns["train"].high).sum())
    if constant and len(train) >= train.x.shape[1]:
        warnings.append(f"{constant} of {train.x.shape[1]} features are constant over train")
    return [*warnings, *twin_warnings(train, ordered=ordered)]


def _check_part(name: str, part: LabelledFeatures, n_classes: int) -> _Columns:
    x, y = part.x, part.y
    problem, columns = None, None
    if len(x.shape) != 2 or y.ndim not in (1, 2) or x.shape[0] != len(y):
        problem = f"needs features [n, d] and as many labels, not {x.shape} and {y.shape}"
    elif 0 in x.shape:
        problem = "has no rows" if len(x) == 0 else "has no features"
    elif (problem := part.task.problem(y, n_classes)) is None:
        columns = _look(part)
        if columns.not_finite:
            problem = f"has {columns.not_finite} rows with NaN or infinite features"
    if problem is not None or columns is None:
        raise BadInput(f"the {name} part {problem}", hint="Check the feature set that it was read from.", key=name)
    return columns


def _look(part: LabelledFeatures) -> _Columns:
    bad = 0
    low = np.full(part.x.shape[1], np.inf, np.float32)
    high = np.full(part.x.shape[1], -np.inf, np.float32)
    for block in blocks_of(part.x):
        bad += int((~np.isfinite(block).all(axis=1)).sum())
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    if isinstance(part.x, ShardedRows):
        return _of_every_rank(part.x.ranks, _Columns(bad, low, high))
    return _Columns(bad, low, high)


def _of_every_rank(ranks: RankGroup, own: _Columns) -> _Columns:
    """Return what the rows of all ranks show; comparisons with NaN are left to the count of such rows."""
    ends = np.nan_to_num(ranks.largest(np.concatenate([-own.low, own.high])), nan=np.inf).astype(np.float32)
    d = len(own.low)
    return _Columns(int(sum(part.sum() for part in ranks.gather(np.array([own.not_finite])))), -ends[:d], ends[d:])
