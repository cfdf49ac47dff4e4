"""The page's sections, in order: a line for each module that makes some."""

from __future__ import annotations

from collections.abc import Sequence

from . import (
    charts_calibration,
    charts_classes,
    charts_confusion,
    charts_knn_linear,
    charts_sizes,
    charts_validation,
    cost,
    data_health,
    heat_map,
    images,
    leaderboard,
    oddities,
    provenance,
)
from .section import Maker

MAKERS: Sequence[Maker] = (
    leaderboard.sections,
    heat_map.sections,
    charts_knn_linear.sections,
    cost.sections,
    charts_validation.sections,
    charts_sizes.sections,
    charts_classes.sections,
    charts_confusion.sections,
    charts_calibration.sections,
    images.sections,
    oddities.sections,
    data_health.sections,
    provenance.sections,
)
