"""One label a row: the classes exclude each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...arrays import Features, Indices, Int64, Mask, Targets
from ...errors import BadInput
from ..metrics.bootstrap import classification_intervals
from ..metrics.ranking import one_vs_rest_roc_auc
from ..metrics.scores import classification_metrics, negative_log_likelihood, top_k
from .base import FLAG_SCORES, INTERVAL_SEED, Prediction, Task, TestScores, ValidationScores
from .outputs import class_probabilities, class_scores, in_columns, votes_of, without_votes_last


class SingleLabel(Task):
    """Targets are places of classes, int64 [n]."""

    name = "single-label"
    score = "top1"
    exclusive = True
    targets = "labels"
    dtype = np.int64

    def shape(self, n: int, n_classes: int) -> tuple[int, ...]:
        return (n,)

    def values(self, n_classes: int) -> int:
        return n_classes

    def check_trainable(self, y: Targets) -> None:
        if y.min() == y.max():
            raise BadInput("train has a single class", hint="A probe needs rows of at least two classes.", key="train")

    def rows_per_class(self, y: Targets, n_classes: int) -> Int64:
        return np.bincount(y.astype(np.int64), minlength=n_classes)

    def codes(self, y: Targets) -> Int64:
        return y.astype(np.int64)

    def recoded(self, y: Targets, places: Indices, n_classes: int) -> Targets:
        return np.asarray(places[y], np.int64)

    def draw_shots(self, y: Targets, shots: int, then: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Draw class after class, each in the order of its permutation, which is how big_vision draws.

        See big_vision/evaluators/fewshot_lsr.py.
        """
        orders = _shuffled_classes(y, rng)
        return (
            np.concatenate([order[:shots] for order in orders]),
            np.concatenate([order[shots : shots + then] for order in orders]),
        )

    def draw_fraction(self, y: Targets, fraction: float, rng: np.random.Generator) -> Indices:
        """Draw a share of the rows of every class, at least one each; ascending."""
        orders = _shuffled_classes(y, rng)
        return np.sort(np.concatenate([order[: max(1, round(fraction * len(order)))] for order in orders]))

    def hold_out(self, y: Targets, fraction: float, rng: np.random.Generator) -> Mask:
        """Hold out the first rows of every class, in a random order; a class keeps one row at least."""
        n = len(y)
        order = rng.permutation(n)
        _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)  # [n], [K]
        share = fraction * counts
        quota = np.floor(share).astype(np.int64)  # [K]
        spare = round(fraction * n) - int(quota.sum())
        # Equal remainders are the rule in balanced data: shuffle, so that low class indices are not favoured.
        ties = rng.permutation(len(counts))
        by_remainder = ties[np.argsort(-(share - quota)[ties], kind="stable")]
        by_remainder = by_remainder[quota[by_remainder] + 1 < counts[by_remainder]]
        quota[by_remainder[: max(spare, 0)]] += 1
        quota = np.minimum(quota, counts - 1)

        grouped = order[np.argsort(codes[order], kind="stable")]  # rows, class after class
        rank = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)  # place of each within its class
        is_held = np.zeros(n, dtype=bool)
        is_held[grouped] = rank < np.repeat(quota, counts)
        return is_held

    def is_mixed(self, y: Targets) -> bool:
        """Return whether neighbours differ at least half as often as rows that are put in order at random."""
        if len(y) < 2:
            return True
        shares = np.unique(y, return_counts=True)[1] / len(y)
        return bool(np.mean(np.diff(y) != 0) >= 0.5 * (1 - np.square(shares).sum()))

    def read(self, estimator: Any, x: Features, n_classes: int) -> Prediction:
        if (votes := votes_of(estimator, x)) is not None:
            shares = in_columns(estimator, votes.shares, n_classes, np.nan)
            scores = None if shares is None else without_votes_last(shares)
            return Prediction(estimator.decided(votes.shares), scores, shares, votes.tied)
        labels = np.asarray(estimator.predict(x))
        probabilities = class_probabilities(estimator, x, n_classes)
        return Prediction(labels, class_scores(estimator, x, n_classes, probabilities), probabilities)

    def has_score(self, name: str) -> bool:
        return name not in FLAG_SCORES

    def score_of(self, y: Targets, prediction: Prediction) -> float | None:
        return float(np.mean(prediction.labels == y))

    def test_scores(self, y: Targets, prediction: Prediction, n_classes: int) -> TestScores:
        y, labels = y.astype(np.int64), prediction.labels.astype(np.int64)
        scores, probabilities = prediction.scores, prediction.probabilities
        return TestScores(
            classification_metrics(y, scores, labels, n_classes, probabilities=probabilities, per_class=True),
            classification_intervals(y, scores, labels, n_classes, probabilities=probabilities, seed=INTERVAL_SEED),
        )

    def validation_scores(self, y: Targets, prediction: Prediction, n_classes: int, *, also: str) -> ValidationScores:
        y, labels, probabilities = y.astype(np.int64), prediction.labels.astype(np.int64), prediction.probabilities
        hits = np.bincount(y[y == labels], minlength=n_classes)
        counts = np.bincount(y, minlength=n_classes)
        top1 = float(np.mean(labels == y))
        area = five = None
        if also == "roc_auc" and probabilities is not None:
            area = one_vs_rest_roc_auc(y, probabilities)
        elif also == "mean_top1_top5" and prediction.scores is not None:
            five = (top1 + top_k(y, prediction.scores, 5)) / 2
        return ValidationScores(
            roc_auc=area,
            mean_top1_top5=five,
            nll=None if probabilities is None else negative_log_likelihood(y, probabilities),
            top1=top1,
            mean_per_class_recall=float(np.mean(hits[counts > 0] / counts[counts > 0])),
        )


def _shuffled_classes(y: Targets, rng: np.random.Generator) -> list[Indices]:
    """Return the rows of each class, 0 to the last that has one, in random order."""
    return [rng.permutation(np.flatnonzero(y == label)) for label in range(int(y.max()) + 1)]
