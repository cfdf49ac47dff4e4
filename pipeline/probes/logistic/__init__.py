"""Logistic regression with an L2 penalty: many penalties at once, in few passes over the features."""

from .path import Path, fit_path

__all__ = ["Path", "fit_path"]
