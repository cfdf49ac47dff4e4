"""CLIP's linear probe: the paper's search (Radford et al. 2021, appendix A.3), and the variant in the README."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ..probes.outcome import ProbeOutcome
from ..probes.selection import end_of_grid
from .base import MEAN_TOP1_TOP5, METRIC, Problem, Protocol
from .logistic_search import SOLVER, LogisticSearch
from .search import FIRST, coarse_to_fine

LAMBDAS = 10.0 ** (np.arange(-48, 49) / 8)
"""The 97 penalties, 1e-6 to 1e6, eight to a decade; scikit-learn's C is 1 / λ (a sum of losses, not a mean)."""

_MEAN_PER_CLASS = ("aircraft", "fgvcaircraft", "pets", "oxfordiiitpet", "caltech101", "flowers102")
"""The data sets that are scored by mean per-class accuracy (CLIP, table 9), as torchvision and people call them."""


_OTHERS = {"hatefulmemes": "roc_auc", "kinetics700": MEAN_TOP1_TOP5}

METRICS: Mapping[str, str] = MappingProxyType(
    {name: name for name in ("top1", "mean_per_class_recall", "roc_auc", MEAN_TOP1_TOP5, "map_11_point", "map")}
)
"""What can be asked for instead of the table."""


def headline(dataset: str) -> str | None:
    """Return the score other than top-1 that CLIP reports of a data set (table 9 of the paper); None for the others.

    Parameters
    ----------
    dataset : str
        As it is asked for: torchvision's class, or a path whose last folder or file has the data set's name.
    """
    name = re.split(r"[:/]", dataset.rstrip("/"))[-1].split(".")[0]
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return "mean_per_class_recall" if plain in _MEAN_PER_CLASS else _OTHERS.get(plain)


def run_clip(problem: Problem) -> ProbeOutcome:
    """Search the grid on validation rows, then fit on train and validation rows together."""
    search = LogisticSearch(problem)
    # The paper has no rule for ties. On few rows all seven values may tie: then the middle is taken, and not an end.
    strongest_first = 1 / LAMBDAS[::-1]
    best = coarse_to_fine(
        lambda places: search.scores(strongest_first[list(places)].tolist()), len(LAMBDAS), FIRST, inward=True
    )
    search.warnings += end_of_grid("C", float(strongest_first[best]), strongest_first.tolist())
    return search.finish(float(strongest_first[best]), problem.refit_on)


def run_readme(problem: Problem) -> ProbeOutcome:
    """Fit the README's one value of C on the training rows."""
    return LogisticSearch(problem).finish(float(problem.parameters["C"]), problem.train)


CLIP = Protocol(
    name="clip",
    description="logistic regression, λ found among 97 values by a coarse-to-fine search, refitted on train + val",
    source="CLIP paper (Radford et al. 2021), appendix A.3",
    features="raw",
    tap="pre_projection",
    validation="either",
    parameters=MappingProxyType({METRIC: "by-data-set", **SOLVER}),
    flag_metric="map_11_point",
    metrics=METRICS,
    metric_of=headline,
    run=run_clip,
)

CLIP_README = Protocol(
    name="clip-readme",
    description="logistic regression with C = 0.316",
    source="README of CLIP's repository",
    features="raw",
    tap="post_projection",
    parameters=MappingProxyType({"C": 0.316, **SOLVER}),
    run=run_readme,
)
