"""The table of agreement with independent references, on a small set; and that it can fail."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "probe_agreement.py"


@pytest.fixture(scope="module")
def agreement() -> Any:
    spec = importlib.util.spec_from_file_location("probe_agreement", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
    return module


def test_every_probe_agrees_with_its_reference(
    agreement: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [str(SCRIPT), "--rows", "450", "--dim", "40", "--classes", "5", "--json"])
    with threadpool_limits(1, "blas"):
        assert agreement.main() == 0
    table, last = capsys.readouterr().out.strip().rsplit("\n", 1)
    report = json.loads(last)
    assert report["passed"]
    assert {line["probe"].split()[0] for line in report["lines"]} == {"logistic", "ridge", "few-shot", "knn", "heads"}
    assert table.count("PASS") == len(report["lines"])


def test_what_is_beyond_its_tolerance_or_not_a_number_fails(agreement: Any) -> None:
    assert agreement.Line("ridge", "coefficients", 1e-8, 1e-8).passed
    assert not agreement.Line("ridge", "coefficients", 2e-8, 1e-8).passed
    assert not agreement.Line("ridge", "coefficients", float("nan"), 1e-8).passed
