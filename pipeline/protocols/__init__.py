"""Protocols: what a paper prescribes around a probe, so that a number can be set beside the published one.

Which features, which rows choose the hyper-parameters, from which grid, by which score, and which score is reported.
"""

from .base import Problem, Protocol
from .registry import PROTOCOLS, ProtocolInfo, list_protocols, protocol_named

__all__ = ["PROTOCOLS", "Problem", "Protocol", "ProtocolInfo", "list_protocols", "protocol_named"]
