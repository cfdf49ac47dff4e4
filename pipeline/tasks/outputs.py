"""What fitted classifiers of scikit-learn's kind say of rows, with a column for each class of the data set.

Columns are in the order of the data set's classes, whatever order and subset of them an estimator saw.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ...arrays import Features, Float64, Mask, Scores


class NeighbourVotes(Protocol):
    """Votes of nearest neighbours; see `probes.knn.neighbours.Votes`."""

    @property
    def shares(self) -> Float64:
        """Of each class, [n, C]."""

    @property
    def tied(self) -> Mask:
        """Whether the order of the training rows decides who votes, [n]."""


def votes_of(estimator: Any, x: Features) -> NeighbourVotes | None:
    """Return the votes of nearest neighbours, from one search that serves all that is asked; None of other probes."""
    if not hasattr(estimator, "votes_at"):
        return None
    votes: NeighbourVotes = estimator.votes_at(x, (estimator.k_,))[0]
    return votes


def in_columns(estimator: Any, raw: Scores, n_classes: int, absent: float) -> Scores | None:
    """Scatter columns from the estimator's ``classes_`` to all classes; None where they are not those."""
    classes = np.asarray(getattr(estimator, "classes_", np.arange(n_classes)))
    if raw.shape != (len(raw), classes.size):
        return None
    values = np.full((len(raw), n_classes), absent, dtype=np.result_type(raw, np.float32))
    values[:, classes.astype(np.int64)] = raw
    return values


def without_votes_last(probabilities: Scores) -> Scores:
    """Return probabilities as scores: -inf for a class without a vote or a training row, which nothing speaks for.

    Examples
    --------
    >>> without_votes_last(np.array([[0.75, 0.25, 0.0]])).tolist()
    [[0.75, 0.25, -inf]]
    """
    return np.where(probabilities > 0, probabilities, -np.inf)


def class_probabilities(estimator: Any, x: Features, n_classes: int) -> Scores | None:
    """Return probabilities [n, n_classes] of rows x [n, d], or None where the estimator has none.

    NaN in the column of a class that was not in training. A probability that comes from margins is never 0: one that
    was rounded to it is the smallest normal number. Elsewhere, as in a forest, 0 means that nothing voted for it.
    """
    if not hasattr(estimator, "predict_proba"):
        return None
    raw = np.asarray(estimator.predict_proba(x))
    if hasattr(estimator, "decision_function") and not raw.all():
        raw = np.maximum(raw.astype(np.float64), np.finfo(np.float64).tiny)
    return in_columns(estimator, raw, n_classes, np.nan)


def class_scores(estimator: Any, x: Features, n_classes: int, probabilities: Scores | None) -> Scores | None:
    """Return scores of classes that exclude each other, [n, n_classes]; None where the estimator does not rank.

    ``decision_function`` goes first: probabilities of classes far behind round to the same zero, which would tie them.
    """
    if hasattr(estimator, "decision_function"):
        raw = np.asarray(estimator.decision_function(x))
        if raw.ndim == 1 and np.size(getattr(estimator, "classes_", ())) == 2:
            raw = np.stack([-raw, raw], axis=1)  # one margin, of the second class
        # One-vs-one margins have a column a pair: not scores of classes.
        if raw.ndim == 2 and (scores := in_columns(estimator, raw, n_classes, -np.inf)) is not None:
            return scores
    if probabilities is None:
        return None
    scores = without_votes_last(probabilities)
    if np.isneginf(scores).any() and hasattr(estimator, "predict_log_proba"):  # finite where a density underflows
        raw = np.asarray(estimator.predict_log_proba(x))
        logs = in_columns(estimator, raw, n_classes, -np.inf)
        return scores if logs is None else logs
    return scores


def flag_scores(estimator: Any, x: Features) -> Scores | None:
    """Return scores of the positive side of every flag, [n, C]; None where the estimator does not rank."""
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
