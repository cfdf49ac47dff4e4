"""Probes: what is trained on cached features, how it is chosen and how it is scored.

scikit-learn is imported when a probe is built, not before.
"""

from .draws import Draw, draw_fraction, draw_shots
from .estimators import make_estimator, needs_validation
from .fit import ProbeOutcome, run_probe
from .named import NamedProbe, ProbeInfo, list_probes
from .part import Part, StoredRows
from .request import ProbeRequest, parse_grid, parse_grids, parse_params
from .selection import CurvePoint, stratified_holdout

__all__ = [
    "CurvePoint",
    "Draw",
    "NamedProbe",
    "Part",
    "ProbeInfo",
    "ProbeOutcome",
    "ProbeRequest",
    "StoredRows",
    "draw_fraction",
    "draw_shots",
    "list_probes",
    "make_estimator",
    "needs_validation",
    "parse_grid",
    "parse_grids",
    "parse_params",
    "run_probe",
    "stratified_holdout",
]
