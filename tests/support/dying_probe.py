"""A probe whose first fit in another process than the test's ends that process: once in all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sklearn.linear_model import LogisticRegression

_ARMED = Path("armed")


def arm() -> None:
    """Let the first fit end its process, if that works in this folder and is not this one."""
    _ARMED.write_text(str(os.getpid()))


def is_armed() -> bool:
    return _ARMED.exists()


class Dying(LogisticRegression):
    """Logistic regression, otherwise."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Dying:
        if _ARMED.exists() and int(_ARMED.read_text()) != os.getpid():
            _ARMED.unlink(missing_ok=True)
            os._exit(1)
        super().fit(X, y, sample_weight)
        return self
