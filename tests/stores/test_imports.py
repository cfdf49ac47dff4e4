"""The store stands alone: none of its modules knows of torch, images or probes."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import cryoprobe.stores

MODULES = sorted(m.name for m in pkgutil.walk_packages(cryoprobe.stores.__path__, "cryoprobe.stores."))
HEAVY = {"torch", "torchvision", "sklearn", "PIL", "timm", "open_clip", "safetensors", "cryoprobe.pipeline"}

_IMPORT = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(sys.modules)))
"""


def imported_with(modules: list[str]) -> set[str]:
    """Return what a fresh interpreter has imported after importing `modules`."""
    command = [sys.executable, "-c", _IMPORT, json.dumps(modules)]
    return set(json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout))


def test_every_module_of_the_store_is_looked_at() -> None:
    assert {"cryoprobe.stores.store", "cryoprobe.stores.backends.local", "cryoprobe.stores.feature_set"} <= set(MODULES)


def test_no_module_of_the_store_imports_torch_images_or_probes() -> None:
    assert imported_with(MODULES) & HEAVY == set()


def test_the_suite_for_storage_imports_neither_torch_nor_images_nor_probes() -> None:
    assert imported_with(["cryoprobe.testing", "cryoprobe.testing.storage"]) & HEAVY == set()


def test_only_the_suites_need_pytest() -> None:
    assert "pytest" not in imported_with(["cryoprobe", "cryoprobe.cli", "cryoprobe.pipeline.doors", *MODULES])


@pytest.mark.parametrize("module", ["cryoprobe.stores.store", "cryoprobe.stores.local.sample_index"])
def test_zarr_is_imported_only_to_write_a_set(module: str) -> None:
    assert "zarr" not in imported_with([module])
