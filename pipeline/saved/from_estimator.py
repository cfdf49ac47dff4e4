"""From a fitted estimator to the tensors of a saved probe; and, before a fit, whether that will be possible.

Linear classifiers of scikit-learn and of Cryoprobe are one matrix, whatever they were trained by; what is particular
to each is how its scores become probabilities. What was found is compared with the estimator itself before anything is
written, so that an estimator that computes otherwise than is known here is refused, not misrepresented.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...arrays import Array
from ...errors import BadInput
from ..tasks import MULTI_LABEL, SINGLE_LABEL, Task, task_of
from .header import Kind, Neighbours, Probability, Step

SAVABLE = (
    "Probes that can be saved: logreg, logistic, ridge, few-shot-ridge, nearest-mean, lda, sgd, mlp and KNNProbe; "
    "scikit-learn's linear classifiers (LogisticRegression, RidgeClassifier, SGDClassifier, LinearSVC …), and a "
    "Pipeline of StandardScaler or Normalizer and one of these."
)


@dataclass(frozen=True)
class ProbeTensors:
    """What an estimator amounts to.

    Parameters
    ----------
    kind : str
    tensors : dict of str to ndarray
        Without those of `before`.
    classes : ndarray, int64 [K]
        The labels that its outputs stand for.
    probability : str or None
    before : list of (str, tensors)
        Steps before it, each with its own tensors.
    neighbours : Neighbours or None
    """

    kind: Kind
    tensors: dict[str, Array]
    classes: Array
    probability: Probability | None
    before: list[tuple[Step, dict[str, Array]]] = field(default_factory=list)
    neighbours: Neighbours | None = None

    def all_tensors(self) -> dict[str, Array]:
        """Return the tensors under the names that they have in the file."""
        steps = {f"before.{i}.{n}": t for i, (_, tensors) in enumerate(self.before) for n, t in tensors.items()}
        return {**steps, **self.tensors}


def check_savable(estimator: Any, task: Task) -> None:
    """Refuse an estimator that cannot be saved; it need not be fitted.

    Parameters
    ----------
    estimator : object
        As it will be fitted, or, of multi-label data, before it is wrapped for them.
    task : Task
        Which targets it will be fitted on.

    Raises
    ------
    BadInput
        If it cannot be saved; says why, and which can.
    """
    if (why := _refusal(estimator, task)) is not None:
        raise _unsavable(estimator, why)


def tensors_of(estimator: Any, task: Task) -> ProbeTensors:
    """Return what a fitted estimator amounts to.

    Raises
    ------
    BadInput
        If it cannot be saved.
    """
    from sklearn.pipeline import Pipeline

    check_savable(estimator, task)
    if not hasattr(estimator, "classes_"):
        raise _unsavable(estimator, "it has not been fitted")
    if isinstance(estimator, Pipeline):
        steps = [step for _, transformer in estimator.steps[:-1] for step in _step(transformer)]
        last = tensors_of(estimator.steps[-1][1], task)
        return replace(last, before=[*steps, *last.before])
    return _tensors(estimator, task)


def _refusal(estimator: Any, task: Task) -> str | None:
    from sklearn.linear_model._base import LinearClassifierMixin
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    from ..probes.closed_form.centred_linear import CentredLinear
    from ..probes.closed_form.centroids import NearestMeanProbe
    from ..probes.flags import FlagsProbe
    from ..probes.gradient.mlp import MLPProbe
    from ..probes.gradient.sgd import SGDProbe
    from ..probes.knn.neighbours import KNNProbe
    from ..probes.logistic import LogisticProbe

    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps[:-1]:
            normalises = isinstance(step, Normalizer) and step.norm == "l2"
            if not (normalises or isinstance(step, StandardScaler) or step in (None, "passthrough")):
                return f"{_called(step)} is a step of it"
        return _refusal(estimator.steps[-1][1], task)
    if isinstance(estimator, FlagsProbe) and estimator.together:
        return _refusal(estimator.estimator, MULTI_LABEL)
    if isinstance(estimator, OneVsRestClassifier | FlagsProbe):
        inner = estimator.estimator
        return "its binary problems are not linear" if isinstance(inner, KNNProbe) else _refusal(inner, MULTI_LABEL)
    if isinstance(estimator, MLPProbe):
        return None if task.exclusive else "of multi-label data it is one network a class"
    if isinstance(estimator, LinearClassifierMixin):
        odd = getattr(estimator, "loss", None) == "modified_huber"
        return "its probabilities are neither a softmax nor a sigmoid" if odd else None
    linear = CentredLinear | LogisticProbe | NearestMeanProbe | SGDProbe
    return (
        None
        if isinstance(estimator, linear | KNNProbe)
        else "it is not one of the estimators whose predictions can be stored"
    )


def _tensors(estimator: Any, task: Task) -> ProbeTensors:
    from sklearn.multiclass import OneVsRestClassifier

    from ..probes.closed_form.centroids import NearestMeanProbe
    from ..probes.flags import FlagsProbe
    from ..probes.gradient.mlp import MLPProbe
    from ..probes.knn.neighbours import KNNProbe

    classes = np.asarray(estimator.classes_)
    if isinstance(estimator, KNNProbe):
        rows, codes = estimator._x, estimator._codes
        task = task_of(codes)
        targets: dict[str, Array] = {task.targets: task.as_targets(codes)}
        neighbours = Neighbours(
            k=estimator.k_,
            weights=estimator.weights,
            temperature=float(estimator.temperature),
            metric=estimator.metric,
        )
        return ProbeTensors("knn", {"rows": rows, **targets}, classes, "votes", neighbours=neighbours)
    if isinstance(estimator, MLPProbe):
        scale = np.full_like(estimator.center_, estimator.scale_, dtype=np.float64)
        tensors = {
            "hidden.weight": estimator.coefs_[0].T,
            "hidden.intercept": estimator.intercepts_[0],
            "weight": estimator.coefs_[1].T,
            "intercept": estimator.intercepts_[1],
        }
        return ProbeTensors(
            "mlp", tensors, classes, "softmax", [("standardise", {"mean": estimator.center_, "scale": scale})]
        )
    if isinstance(estimator, FlagsProbe):
        return _flags(estimator, classes)
    if isinstance(estimator, OneVsRestClassifier):
        trained = [None if not hasattr(e, "classes_") else tensors_of(e, SINGLE_LABEL) for e in estimator.estimators_]
        always = [float(np.ravel(e.y_)[0]) if hasattr(e, "y_") else 0.0 for e in estimator.estimators_]
        return _one_vs_rest(estimator, trained, always, classes, task)
    if isinstance(estimator, NearestMeanProbe):
        means = estimator.means_
        if estimator.metric == "cosine":
            return _linear(means, np.zeros(len(means)), classes, None, [("unit", {})])
        # -|x - m|²/2 without the |x|²/2 that it has for every class
        return _linear(means, -np.square(means).sum(axis=1) / 2, classes, None)
    weight, intercept = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
    if len(intercept) != len(weight):  # fitted without one
        intercept = np.broadcast_to(intercept, len(weight))
    return _linear(weight, intercept, classes, _probability(estimator, len(weight), task))


def _linear(
    weight: Array,
    intercept: Array,
    classes: Array,
    probability: Probability | None,
    before: list[tuple[Step, dict[str, Array]]] | None = None,
) -> ProbeTensors:
    return ProbeTensors("linear", {"weight": weight, "intercept": intercept}, classes, probability, before or [])


def _probability(estimator: Any, outputs: int, task: Task) -> Probability | None:
    from sklearn.linear_model import SGDClassifier
    from sklearn.multiclass import OneVsRestClassifier

    if not hasattr(estimator, "predict_proba"):
        return None
    if not task.exclusive or outputs == 1:
        return "sigmoid"
    one_by_one = (
        isinstance(estimator, SGDClassifier | OneVsRestClassifier)
        or getattr(estimator, "multi_class", None) == "ovr"  # of scikit-learn before 1.8
        or getattr(estimator, "solver", None) == "liblinear"
    )
    return "normalised-sigmoid" if one_by_one else "softmax"


def _flags(estimator: Any, classes: Array) -> ProbeTensors:
    """Return what a `FlagsProbe` amounts to: constant flags get a row, or votes, of their own."""
    always = estimator.constant_.astype(np.float64).tolist()
    if not estimator.together_:
        trained: list[ProbeTensors | None] = [None] * len(classes)
        for column, binary in zip(estimator.varies_, estimator.estimators_, strict=True):
            trained[column] = tensors_of(binary, SINGLE_LABEL)
        return _one_vs_rest(estimator, trained, always, classes, MULTI_LABEL)
    inner = tensors_of(estimator.estimators_[0], MULTI_LABEL)
    if inner.kind == "knn":
        flags = np.repeat(estimator.constant_[None].astype(np.uint8), len(inner.tensors["flags"]), axis=0)
        flags[:, estimator.varies_] = inner.tensors["flags"]
        return replace(inner, tensors={**inner.tensors, "flags": flags}, classes=classes)
    weight = np.zeros((len(classes), inner.tensors["weight"].shape[1]))
    intercept = np.array([_certain(value, inner.probability) for value in always])
    weight[estimator.varies_], intercept[estimator.varies_] = inner.tensors["weight"], inner.tensors["intercept"]
    return replace(inner, tensors={"weight": weight, "intercept": intercept}, classes=classes)


def _certain(value: float, probability: Probability | None) -> float:
    """Return the intercept of a flag that all (1) or no (0) training rows have."""
    from ..probes.flags import CERTAIN

    return value if probability is None else CERTAIN * (2 * value - 1)


def _one_vs_rest(
    estimator: Any, trained: list[ProbeTensors | None], always: list[float], classes: Array, task: Task
) -> ProbeTensors:
    """Stack binary problems, one row each; one that is None has a constant answer, in `always`."""
    first = next((part for part in trained if part is not None), None)
    if first is None:
        raise _unsavable(estimator, "no class has both rows with it and rows without")
    probability = _probability(estimator, len(trained), task)
    weights, intercepts = [], []
    for value, part in zip(always, trained, strict=True):
        if part is None:
            weights.append(np.zeros(first.tensors["weight"].shape[1]))
            intercepts.append(_certain(value, probability))
            continue
        if not _same(part.before, first.before):
            raise _unsavable(estimator, "its binary problems are standardised differently")
        weight, intercept = part.tensors["weight"], part.tensors["intercept"]
        weights.append(weight[0] if len(weight) == 1 else weight[1] - weight[0])
        intercepts.append(float(intercept[0] if len(intercept) == 1 else intercept[1] - intercept[0]))
    return _linear(np.stack(weights), np.array(intercepts), classes, probability, first.before)


def _same(one: list[tuple[Step, dict[str, Array]]], other: list[tuple[Step, dict[str, Array]]]) -> bool:
    return [step for step, _ in one] == [step for step, _ in other] and all(
        np.array_equal(a[name], b[name]) for (_, a), (_, b) in zip(one, other, strict=True) for name in a
    )


def _step(transformer: Any) -> list[tuple[Step, dict[str, Array]]]:
    from sklearn.preprocessing import StandardScaler

    if transformer in (None, "passthrough"):
        return []
    if not isinstance(transformer, StandardScaler):
        return [("unit", {})]
    d = transformer.n_features_in_
    mean = transformer.mean_ if transformer.with_mean else np.zeros(d)
    scale = transformer.scale_ if transformer.with_std else np.ones(d)
    return [("standardise", {"mean": mean, "scale": scale})]


def _unsavable(estimator: Any, why: str) -> BadInput:
    return BadInput(f"{_called(estimator)} cannot be saved: {why}.", hint=SAVABLE, key=_called(estimator))


def _called(estimator: Any) -> str:
    return type(estimator).__name__
