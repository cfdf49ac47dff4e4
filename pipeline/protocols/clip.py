"""CLIP's linear probe: the paper's search (Radford et al. 2021, appendix A.3), and the variant in the README."""

from __future__ import annotations

import re
from types import MappingProxyType

import numpy as np

from ..probes.fit import ProbeOutcome
from ..probes.selection import end_of_grid
from .base import Problem, Protocol
from .logistic_search import SOLVER, LogisticSearch
from .search import FIRST, coarse_to_fine

LAMBDAS = 10.0 ** (np.arange(-48, 49) / 8)
"""The 97 penalties, 1e-6 to 1e6, eight to a decade; scikit-learn's C is 1 / λ (a sum of losses, not a mean)."""

_MEAN_PER_CLASS = ("aircraft", "fgvcaircraft", "pets", "oxfordiiitpet", "caltech101", "flowers102")
"""The data sets that are scored by mean per-class accuracy (CLIP, table 9), as torchvision and people call them."""


def headline(dataset: str, *, multilabel: bool) -> str:
    """Return the score that CLIP reports of a data set: table 9 of the paper."""
    if multilabel:
        return "map_11_point"
    # The data set's own name: torchvision's class, or the last folder or file of a path.
    name = re.split(r"[:/]", dataset.rstrip("/"))[-1].split(".")[0]
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    return "mean_per_class_recall" if plain in _MEAN_PER_CLASS else "top1"


def run_clip(problem: Problem) -> ProbeOutcome:
    """Search the grid on validation rows, then fit on train and validation rows together."""
    metric = headline(problem.dataset, multilabel=problem.train.multilabel)
    search = LogisticSearch(problem, metric)
    # The paper has no rule for ties. On few rows all seven values may tie: then the middle is taken, and not an end.
    strongest_first = 1 / LAMBDAS[::-1]
    best = coarse_to_fine(
        lambda places: search.scores(strongest_first[list(places)].tolist()), len(LAMBDAS), FIRST, inward=True
    )
    search.told += end_of_grid("C", float(strongest_first[best]), strongest_first.tolist())
    return search.finish(float(strongest_first[best]), problem.refit_on, metric=metric)


def run_readme(problem: Problem) -> ProbeOutcome:
    """Fit the README's one value of C on the training rows."""
    metric = headline(problem.dataset, multilabel=problem.train.multilabel)
    return LogisticSearch(problem, metric).finish(float(problem.parameters["C"]), problem.train, metric=metric)


CLIP = Protocol(
    name="clip",
    description="logistic regression, λ found among 97 values by a coarse-to-fine search, refitted on train + val",
    source="CLIP paper (Radford et al. 2021), appendix A.3",
    features="raw",
    tap="pre_projection",
    validation="either",
    parameters=SOLVER,
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
