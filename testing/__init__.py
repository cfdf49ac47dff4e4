"""Conformance suites for encoders, data sets, storage backends and probes, ours and other people's.

Subclass a suite in a test module, give it a fixture, and run pytest:

>>> import pytest
>>> from cryoprobe.testing import ProbeSuite
>>> class TestForest(ProbeSuite):
...     @pytest.fixture
...     def probe(self):
...         from sklearn.ensemble import RandomForestClassifier
...
...         return RandomForestClassifier(random_state=0)

This is the only part of Cryoprobe that needs pytest: ``pip install 'cryoprobe[testing]'``. Each suite is imported when
it is first used, so that the suite for storage imports neither torch nor scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .datasets import DatasetSuite
    from .encoders import EncoderSuite
    from .probes import ProbeSuite
    from .storage import Storage, StorageReadingSuite, StorageSuite, StorageWritingSuite

_HOME = {
    "DatasetSuite": "datasets",
    "EncoderSuite": "encoders",
    "ProbeSuite": "probes",
    "Storage": "storage",
    "StorageReadingSuite": "storage",
    "StorageSuite": "storage",
    "StorageWritingSuite": "storage",
}

__all__ = [
    "DatasetSuite",
    "EncoderSuite",
    "ProbeSuite",
    "Storage",
    "StorageReadingSuite",
    "StorageSuite",
    "StorageWritingSuite",
]

# So that a failed assertion shows the values, as in a test module.
pytest.register_assert_rewrite(*(f"{__name__}.{home}" for home in dict.fromkeys(_HOME.values())))


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
