"""The probes that have a short name: which estimator each one is, and with which parameters.

Data only; `request` reads it to complete a request and `estimators` to build one. Nothing here imports scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import JsonValue

DEFAULT_C: tuple[float, ...] = (0.1, 0.316, 1.0, 3.16, 10.0, 31.6, 100.0, 316.0, 1000.0)
"""Grid of inverse regularisation strengths where the user gives none.

scikit-learn adds up the loss over the rows and weighs it with C. Rows of unit norm have entries of about 1/sqrt(d), so
a separating weight vector is long and C = 1 regularises far more than it does on standardised features: the optimum
of most encoders lies between 1 and 1000. One decade below that catches small or noisy data sets. Steps of half a
decade: with whole ones the best value can be missed by a factor of three.
"""


@dataclass(frozen=True)
class NamedProbe:
    """A short name's meaning.

    Parameters
    ----------
    name : str
        What the user writes.
    path : str
        Dotted path of the estimator.
    description : str
        One line for `list_probes`.
    defaults : mapping
        Parameters that differ from the estimator's own defaults. They are completed into every request, so that a
        change of one of them changes the trial key.
    aliases : mapping
        Other spellings of parameters, to the estimator's own.
    grid : tuple of float
        Grid where the user gives none; empty for an estimator without C.
    float64 : bool
        Whether training features are widened to float64 first.
    """

    name: str
    path: str
    description: str
    defaults: Mapping[str, JsonValue] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    grid: tuple[float, ...] = ()
    float64: bool = False


_LOGREG = NamedProbe(
    name="logreg",
    path="sklearn.linear_model.LogisticRegression",
    description="Multinomial logistic regression, L2 penalty, L-BFGS; C chosen on validation data",
    # tol bounds the largest entry of the gradient of the *mean* loss. On unit rows of d dimensions and K classes that
    # gradient starts at about 1/(K sqrt(d)): 4e-5 for 1000 classes and 768 dimensions, so that scikit-learn's default
    # of 1e-4 would stop before the first step.
    # At 1e-7, float32 arithmetic stalls on rounding noise well before the optimum and still reports success; float64
    # gets there.
    defaults=MappingProxyType({"solver": "lbfgs", "max_iter": 1000, "tol": 1e-7}),
    grid=DEFAULT_C,
    float64=True,
)

_KNN = NamedProbe(
    name="knn",
    path="sklearn.neighbors.KNeighborsClassifier",
    description="k nearest neighbours; on unit vectors the order by Euclidean distance is that by cosine",
    # Trees do not help in hundreds of dimensions; naming the algorithm keeps the choice out of a heuristic's hands.
    defaults=MappingProxyType({"n_neighbors": 20, "metric": "euclidean", "algorithm": "brute"}),
    aliases=MappingProxyType({"k": "n_neighbors"}),
)

_LOGISTIC = NamedProbe(
    name="logistic",
    path="cryoprobe.pipeline.probes.logistic.LogisticProbe",
    description="The objective of logreg by Cryoprobe's own solver: the whole grid of C together, in few passes",
    defaults=MappingProxyType({"tol": 5e-5, "max_iter": 50}),
    grid=DEFAULT_C,
)

_OURS = "cryoprobe.pipeline.probes"

_OTHERS = (
    NamedProbe("ridge", f"{_OURS}.ridge.RidgeProbe", "Least squares on targets of +1 and -1, in closed form"),
    NamedProbe("few-shot-ridge", f"{_OURS}.few_shot_ridge.FewShotRidgeProbe", "big_vision's few-shot ridge probe"),
    NamedProbe("nearest-mean", f"{_OURS}.centroids.NearestMeanProbe", "The class whose mean is nearest"),
    NamedProbe("lda", f"{_OURS}.discriminant.LDAProbe", "Linear discriminant analysis with a shrunk covariance"),
    NamedProbe("sgd", f"{_OURS}.sgd.SGDProbe", "A linear head trained on minibatches"),
    NamedProbe("mlp", f"{_OURS}.mlp.MLPProbe", "One hidden layer, trained on minibatches"),
)

NAMED: Mapping[str, NamedProbe] = MappingProxyType(
    {probe.name: probe for probe in (_LOGREG, _LOGISTIC, _KNN, *_OTHERS)}
)


@dataclass(frozen=True)
class ProbeInfo:
    """One row of the table of probes: its name, what it is, and its parameters with their defaults."""

    name: str
    description: str
    parameters: dict[str, JsonValue]


def list_probes() -> list[ProbeInfo]:
    """Return the probes that have a short name, with the defaults that Cryoprobe sets.

    Every further parameter of the estimator can be given too, and any scikit-learn classifier can be named by its
    dotted path.
    """
    table = []
    for probe in NAMED.values():
        spelled = {own: alias for alias, own in probe.aliases.items()}
        parameters: dict[str, JsonValue] = {spelled.get(key, key): value for key, value in probe.defaults.items()}
        if probe.grid:
            parameters["C"] = list(probe.grid)
        table.append(ProbeInfo(probe.name, probe.description, parameters))
    return table
