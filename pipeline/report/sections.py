"""The page's sections, in order: a line for each module that makes some."""

from __future__ import annotations

from collections.abc import Sequence

from . import cost, data_health, heat_map, leaderboard, oddities, provenance
from .section import Maker

MAKERS: Sequence[Maker] = (
    leaderboard.sections,
    heat_map.sections,
    cost.sections,
    oddities.sections,
    data_health.sections,
    provenance.sections,
)
