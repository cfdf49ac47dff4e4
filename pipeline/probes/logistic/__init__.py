"""Logistic regression with an L2 penalty: many penalties in one go, each from where others lead.

`fit_path` fits a path of penalties; `Rotated` holds features for many fits on subsets of their rows; `LogisticProbe` is
one penalty as a scikit-learn estimator. Importing this imports neither torch nor scikit-learn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .path import Path, fit_path
from .rotated import Rotated

if TYPE_CHECKING:
    from .estimator import LogisticProbe

__all__ = ["LogisticProbe", "Path", "Rotated", "fit_path"]


def __getattr__(name: str) -> Any:
    if name == "LogisticProbe":
        from .estimator import LogisticProbe

        return LogisticProbe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
