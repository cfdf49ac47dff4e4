"""What is installed is what the repository has: a wheel with every module, run outside of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import cryoprobe

pytestmark = pytest.mark.slow

ROOT = Path(cryoprobe.__file__).resolve().parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the sources, with the build tools of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for path in _sources():
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def _sources() -> list[Path]:
    modules = [p for folder in ("commands", "pipeline", "stores", "testing") for p in (ROOT / folder).rglob("*.py")]
    return [*modules, *ROOT.glob("*.py"), *(ROOT / n for n in ("pyproject.toml", "README.md", "LICENSE", "py.typed"))]


def test_the_wheel_has_every_module_and_the_type_marker_and_nothing_else(wheel: Path) -> None:
    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    expected = {f"cryoprobe/{p.relative_to(ROOT).as_posix()}" for p in _sources() if p.suffix == ".py"}
    assert names == expected | {"cryoprobe/py.typed"}


def test_the_unpacked_wheel_runs_from_anywhere(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import cryoprobe.cli; print(cryoprobe.__file__); cryoprobe.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "datasets"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    first, *_ = done.stdout.splitlines()
    assert first == str(tmp_path / "site" / "cryoprobe" / "__init__.py")
    assert "sklearn:digits" in done.stdout


def test_the_metadata_say_what_the_package_needs(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    files = {n.partition(".dist-info/")[2]: archive.read(n).decode() for n in archive.namelist() if ".dist-info/" in n}
    metadata = files["METADATA"]
    for needed in ("torch", "open_clip_torch", "numpy", "zarr", "scikit-learn", "typer", "pydantic"):
        assert f"Requires-Dist: {needed}" in metadata
    assert f"Version: {cryoprobe.__version__}" in metadata
    assert "Requires-Python: >=3.11" in metadata
    assert "Provides-Extra: quickstart" in metadata
    assert "Provides-Extra: cloud" in metadata
    assert "Provides-Extra: testing" in metadata
    assert "cryoprobe = cryoprobe.cli:main" in files["entry_points.txt"]
    assert "MIT License" in files["licenses/LICENSE"]
