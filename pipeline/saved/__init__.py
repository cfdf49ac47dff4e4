"""Trained probes as files: safetensors with a JSON header, written whole or not at all, read as hostile input.

Nothing here imports torch, and scikit-learn is imported only to save a probe or to search nearest neighbours.
"""

from ...files import check_writable
from .file import load_probe, save_probe
from .from_estimator import check_savable
from .header import ProbeHeader
from .saved_probe import SavedProbe

__all__ = ["ProbeHeader", "SavedProbe", "check_savable", "check_writable", "load_probe", "save_probe"]
