"""Experiment trackers: where finished trials are logged besides the store, which stays what counts.

A `Tracker` takes a trial as parameters, scores and a curve. MLflow and Weights & Biases come with Cryoprobe; a package
adds another by an entry point.
"""

from .base import TrackedTrial, Tracker, TrackerKind
from .registry import log_trials, open_trackers, tell

__all__ = ["TrackedTrial", "Tracker", "TrackerKind", "log_trials", "open_trackers", "tell"]
