"""Probes: what is trained on cached features, how it is chosen and how it is scored.

scikit-learn is imported when a probe is built, not before.
"""

from .build import make_estimator, needs_validation
from .labelled_features import LabelledFeatures
from .outcome import ProbeOutcome
from .registry import NamedProbe, ProbeInfo, list_probes
from .request import ProbeRequest, parse_grid, parse_grids, parse_params
from .run import run_probe
from .sampling import Draw, draw_fraction, draw_shots, stratified_holdout
from .selection import CurvePoint
from .stored_rows import StoredRows

__all__ = [
    "CurvePoint",
    "Draw",
    "LabelledFeatures",
    "NamedProbe",
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
