"""`Task`: what each kind of targets has to say. A new kind is a subclass, in a module of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from ...arrays import Array, Features, Indices, Int64, Mask, Scores, Targets
from ..metrics.bootstrap import Interval
from ..metrics.scores import ClassificationMetrics, MultilabelMetrics

INTERVAL_SEED = 0
"""Of the bootstrap: test sets of one size have the same draws in every trial."""

FLAG_SCORES = ("map", "map_11_point", "lrap", "subset_accuracy")
"""Scores that only flags have."""


@dataclass(frozen=True)
class Prediction:
    """What a fitted estimator says of n rows.

    Parameters
    ----------
    labels : ndarray, int64 [n] or uint8 [n, C]
    scores : ndarray, float [n, C], or None
        Higher is likelier; -inf for a class that was not in training, or got no vote. None where the estimator does
        not rank.
    probabilities : ndarray, float [n, C], or None
        NaN in the column of a class that was not in training; 0 only for a class that got no vote. None where the
        estimator has none, and for flags.
    tied : ndarray, bool [n], or None
        Of nearest neighbours; see `Votes`.
    """

    labels: Targets
    scores: Scores | None
    probabilities: Scores | None = None
    tied: Mask | None = None


@dataclass(frozen=True)
class ValidationScores:
    """What a fit scores on the validation part.

    Parameters
    ----------
    nll : float or None
        Mean negative log-likelihood of the true class, in nats; None for a probe without probabilities.
    top1, mean_per_class_recall : float or None
        For single-label data.
    map, map_11_point : float or None
        Mean average precision, for multi-label data: the area, and VOC2007's 11 points.
    roc_auc, mean_top1_top5 : float or None
        For single-label data, and only where it is what chooses.
    """

    nll: float | None = None
    top1: float | None = None
    mean_per_class_recall: float | None = None
    map: float | None = None
    map_11_point: float | None = None
    roc_auc: float | None = None
    mean_top1_top5: float | None = None


class TestScores(NamedTuple):
    """Metrics on test rows, and their 95 % bootstrap intervals (1,000 resamples)."""

    metrics: ClassificationMetrics | MultilabelMetrics
    intervals: dict[str, Interval | None]


class Task(ABC):
    """One kind of targets. Has no state: two tasks of one kind are equal.

    Attributes
    ----------
    name : str
        As messages call it.
    score : str
        The score that counts if nothing else is asked for or prescribed.
    exclusive : bool
        Whether a row has exactly one class.
    targets : {"labels", "flags"}
        What its targets are called, in a file too.
    dtype : type
        Of its targets.
    """

    name: ClassVar[str]
    score: ClassVar[str]
    exclusive: ClassVar[bool]
    targets: ClassVar[Literal["labels", "flags"]]
    dtype: ClassVar[type[np.generic]]

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)  # also of one that came from another process

    def __hash__(self) -> int:
        return hash(type(self))

    # Targets

    @abstractmethod
    def shape(self, n: int, n_classes: int) -> tuple[int, ...]:
        """Return the shape of the targets of n rows."""

    @abstractmethod
    def values(self, n_classes: int) -> int:
        """Return how many values a target can have, from 0."""

    def as_targets(self, y: Array) -> Targets:
        """Return whole numbers in the dtype that targets have."""
        targets: Targets = y.astype(self.dtype)
        return targets

    def problem(self, y: Targets, n_classes: int) -> str | None:
        """Say what is wrong with the targets of a part, as the end of a sentence that begins with it; None if nothing.

        Parameters
        ----------
        y : ndarray [n] or [n, C]
            At least one row.
        n_classes : int
        """
        top = self.values(n_classes) - 1
        if y.dtype.kind not in "biu":
            return f"has labels of dtype {y.dtype}, not integers"
        if y.min() < 0 or y.max() > top:
            return f"has labels from {y.min()} to {y.max()}, outside 0 … {top}"
        return None

    @abstractmethod
    def check_trainable(self, y: Targets) -> None:
        """Refuse targets that no probe can be trained on.

        Raises
        ------
        BadInput
            If they do not vary.
        """

    def warnings(self, y: Targets) -> list[str]:
        """Return a warning for what is suspicious about targets that a probe is trained on."""
        return []

    @abstractmethod
    def rows_per_class(self, y: Targets, n_classes: int) -> Int64:
        """Return how many rows have each class, int64 [C]."""

    @abstractmethod
    def codes(self, y: Targets) -> Int64:
        """Return a number for each row that rows share if they have the same targets, int64 [n]."""

    @abstractmethod
    def recoded(self, y: Targets, places: Indices, n_classes: int) -> Targets:
        """Return targets in another list of classes.

        Parameters
        ----------
        y : ndarray [n] or [n, C]
        places : ndarray, int64 [C]
            Of each of their classes in the other list.
        n_classes : int
            In the other list.
        """

    def widened(self, y: Targets, n_classes: int) -> Targets:
        """Return targets with room for classes that were added at the end of their list."""
        return y

    # Which rows. `rng` is a generator of the caller's.

    @abstractmethod
    def draw_shots(self, y: Targets, shots: int, then: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Draw so many rows of every class, and `then` further ones; see `probes.sampling.draw_shots`."""

    @abstractmethod
    def draw_fraction(self, y: Targets, fraction: float, rng: np.random.Generator) -> Indices:
        """Draw a share of the rows, at least one; see `probes.sampling.draw_fraction`."""

    @abstractmethod
    def hold_out(self, y: Targets, fraction: float, rng: np.random.Generator) -> Mask:
        """Return which rows are held out, bool [n]; see `probes.sampling.stratified_holdout`."""

    @abstractmethod
    def is_mixed(self, y: Targets) -> bool:
        """Return whether the classes of the rows come in mixed order, rather than one class after the other."""

    # Predictions

    @abstractmethod
    def read(self, estimator: Any, x: Features, n_classes: int) -> Prediction:
        """Ask a fitted estimator about rows x [n, d]. Labels are as it gives them, and not checked."""

    @abstractmethod
    def has_score(self, name: str) -> bool:
        """Return whether targets of this kind can be scored so, and a value chosen by it."""

    @abstractmethod
    def score_of(self, y: Targets, prediction: Prediction) -> float | None:
        """Return the one score that `score` names; None if the rows do not define it."""

    @abstractmethod
    def test_scores(self, y: Targets, prediction: Prediction, n_classes: int) -> TestScores:
        """Score predictions of test rows in every way; see `classification_metrics` and `multilabel_metrics`."""

    @abstractmethod
    def validation_scores(self, y: Targets, prediction: Prediction, n_classes: int, *, also: str) -> ValidationScores:
        """Score predictions of validation rows in every way that a value can be chosen by.

        Parameters
        ----------
        y : ndarray [n] or [n, C]
        prediction : Prediction
        n_classes : int
        also : str
            A score that takes long, and is computed only if it chooses; other names change nothing.
        """
