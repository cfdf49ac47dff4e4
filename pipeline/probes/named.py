"""The probes that have a short name: which estimator each one is, and with which parameters.

Data only; `request` reads it to complete a request and `estimators` to build one. Nothing here imports scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pydantic import JsonValue

DEFAULT_C: tuple[float, ...] = (0.1, 0.316, 1.0, 3.16, 10.0, 31.6, 100.0, 316.0, 1000.0)
"""Grid of inverse regularisation strengths where the user gives none.

scikit-learn adds up the loss over the rows and weighs it with C. Rows of unit norm have entries of about 1/sqrt(d), so
a separating weight vector is long and C = 1 regularises far more than it does on standardised features: the optimum
of most encoders lies between 1 and 1000. One decade below that catches small or noisy data sets. Steps of half a
decade: with whole ones the best value can be missed by a factor of three.
"""

DEFAULT_ALPHA: tuple[float, ...] = (0.01, 0.1, 1.0, 3.16, 10.0, 31.6, 100.0, 316.0, 1000.0)
"""Of ridge regression on rows of unit norm, whose scatter has eigenvalues from a share of n down to nothing."""

DEFAULT_LEARNING_RATES: tuple[float, ...] = (0.1, 0.316, 1.0, 3.16, 10.0, 31.6)
"""Of heads on rows of unit norm: entries are about 1/sqrt(d), and so are gradients."""


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
    tune : str
        The parameter that is chosen on validation data; its estimator may fit many values of it together (`fit_many`).
        Empty where there is none.
    grid : tuple of float
        Its values where the user gives none: several to choose from, or the one that is taken.
    choose_by : {"nll", "top1"}
        The validation score that chooses where the user says nothing else.
    """

    name: str
    path: str
    description: str
    defaults: Mapping[str, JsonValue] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tune: str = ""
    grid: tuple[float, ...] = ()
    choose_by: Literal["nll", "top1"] = "nll"


_OURS = "cryoprobe.pipeline.probes"

_PROBES = (
    NamedProbe(
        "logreg",
        f"{_OURS}.logistic.LogisticProbe",
        "Logistic regression, L2 penalty, free intercept; a grid of C is fitted together, in few passes",
        defaults=MappingProxyType({"tol": 1e-4, "max_iter": 50}),
        tune="C",
        grid=DEFAULT_C,
    ),
    NamedProbe(
        "knn",
        f"{_OURS}.knn.neighbours.KNNProbe",
        "Exact nearest neighbours by cosine; weights=softmax is DINOv2's rule",
        defaults=MappingProxyType({"weights": "uniform", "temperature": 0.07, "metric": "cosine"}),
        aliases=MappingProxyType({"n_neighbors": "k"}),
        tune="k",
        grid=(20,),
        choose_by="top1",  # votes are no likelihoods: a class without a vote would be impossible
    ),
    NamedProbe(
        "ridge",
        f"{_OURS}.closed_form.ridge.RidgeProbe",
        "Least squares on targets of +1 and -1, in closed form; one decomposition serves a grid of alpha",
        tune="alpha",
        grid=DEFAULT_ALPHA,
    ),
    NamedProbe(
        "few-shot-ridge",
        f"{_OURS}.closed_form.few_shot_ridge.FewShotRidgeProbe",
        "big_vision's few-shot ridge probe, on standardised rows",
        tune="alpha",
        grid=(1024.0,),
    ),
    NamedProbe("nearest-mean", f"{_OURS}.closed_form.centroids.NearestMeanProbe", "The class whose mean is nearest"),
    NamedProbe(
        "lda", f"{_OURS}.closed_form.discriminant.LDAProbe", "Linear discriminant analysis with a shrunk covariance"
    ),
    NamedProbe(
        "sgd",
        f"{_OURS}.gradient.sgd.SGDProbe",
        "A linear head trained on minibatches; a grid of learning rates is trained on the same batches",
        tune="learning_rate",
        grid=DEFAULT_LEARNING_RATES,
    ),
    NamedProbe("mlp", f"{_OURS}.gradient.mlp.MLPProbe", "One hidden layer, trained on minibatches"),
)

NAMED: Mapping[str, NamedProbe] = MappingProxyType({probe.name: probe for probe in _PROBES})


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
        parameters: dict[str, JsonValue] = dict(probe.defaults)
        if probe.grid:
            parameters[probe.tune] = list(probe.grid) if len(probe.grid) > 1 else probe.grid[0]
        table.append(ProbeInfo(probe.name, probe.description, parameters))
    return table
