"""Protocols: what a paper prescribes around a probe, so that a number can be set beside the published one.

Which features, which rows choose the hyper-parameters, from which grid, by which score, and which score is reported.
"""

from .base import MEAN_TOP1_TOP5, METRIC, Problem, Protocol, with_mean_top1_top5
from .fitting import fit_and_score
from .registry import PROTOCOLS, ProtocolInfo, list_protocols, protocol_named

__all__ = [
    "MEAN_TOP1_TOP5",
    "METRIC",
    "PROTOCOLS",
    "Problem",
    "Protocol",
    "ProtocolInfo",
    "fit_and_score",
    "list_protocols",
    "protocol_named",
    "with_mean_top1_top5",
]
