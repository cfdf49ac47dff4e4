"""The probes that have a short name: which estimator each one is, and with which parameters.

Data only; `request` reads it to complete a request and `build` to build one. Installed packages add probes by the
entry point `cryoprobe.probes`. Nothing here imports scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from pydantic import JsonValue

from .. import doors

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
    """A probe with a short name: an estimator, and the parameters with which it is used.

    An installed package adds one by an entry point `cryoprobe.probes` that has the probe's name and points to it. Keep
    its module light: it is imported whenever probes are listed, and the estimator's module only when a probe is built.

    Parameters
    ----------
    name : str
        What the user writes, without dots.
    path : str
        Dotted path of the estimator: a class, or a function that returns one, which fits and predicts as scikit-learn's
        classifiers do.
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

    Examples
    --------
    >>> NamedProbe(
    ...     "soft-knn",
    ...     "sklearn.neighbors.KNeighborsClassifier",
    ...     "Nearest neighbours, weighted by distance",
    ...     defaults={"weights": "distance"},
    ...     tune="n_neighbors",
    ...     grid=(1, 5, 20),
    ...     choose_by="top1",
    ... ).tune
    'n_neighbors'
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
    """One row of the table of probes.

    Parameters
    ----------
    name, description : str
    parameters : dict
        Those that the probe sets, with their values.
    package : str or None
        Which installed package brings it; None for Cryoprobe's own.
    problem : str or None
        Why the package's probe cannot be used; None if it can.
    """

    name: str
    description: str
    parameters: dict[str, JsonValue]
    package: str | None = None
    problem: str | None = None


def named_probe(name: str) -> NamedProbe | None:
    """Return the probe with a short name, Cryoprobe's own or an installed package's; None if there is none.

    Raises
    ------
    BadInput
        If the package's probe cannot be used.

    Examples
    --------
    >>> named_probe("knn").tune
    'k'
    >>> named_probe("sklearn.svm.SVC") is None
    True
    """
    if name in NAMED:
        doors.warn_if_taken(name, doors.PROBES)
        return NAMED[name]
    found = brought_probe(name)
    return None if found is None else found.thing


def brought_probe(name: str) -> doors.Brought[NamedProbe] | None:
    """Return the probe that an installed package brings; None for Cryoprobe's own, and for dotted paths."""
    # A package must not be able to stand in for a classifier that is named by its path.
    return None if name in NAMED or "." in name else doors.brought(name, doors.PROBES, NamedProbe)


def probe_names() -> list[str]:
    """Return all short names; imports nothing of the packages that bring some."""
    return [*NAMED, *sorted(name for name in doors.announced(doors.PROBES) if name not in NAMED and "." not in name)]


def list_probes() -> list[ProbeInfo]:
    """Return the probes that have a short name, with the parameters that each of them sets.

    Every further parameter of the estimator can be given too, and any scikit-learn classifier can be named by its
    dotted path. A probe of an installed package that cannot be used is a row with its `problem`.

    Examples
    --------
    >>> next(probe.parameters for probe in list_probes() if probe.name == "few-shot-ridge")
    {'alpha': 1024.0}
    """
    table = [_row(probe) for probe in NAMED.values()]
    for found in doors.all_brought(doors.PROBES, NamedProbe, NAMED):
        if isinstance(found, doors.Broken):
            table.append(ProbeInfo(found.name, "", {}, found.package, found.problem))
        elif "." in found.thing.name:
            problem = f"{found.thing.name} has a dot, as the path of a classifier has: the package must rename it."
            table.append(ProbeInfo(found.thing.name, found.thing.description, {}, found.package, problem))
        else:
            table.append(_row(found.thing, found.package))
    return table


def _row(probe: NamedProbe, package: str | None = None) -> ProbeInfo:
    parameters: dict[str, JsonValue] = dict(probe.defaults)
    if probe.grid:
        parameters[probe.tune] = list(probe.grid) if len(probe.grid) > 1 else probe.grid[0]
    return ProbeInfo(probe.name, probe.description, parameters, package)
