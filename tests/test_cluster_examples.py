"""The scripts and manifests of examples/cluster can be read by what reads them, and call the command as it is."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import cryoprobe
from cryoprobe.cli import app

FOLDER = Path(cryoprobe.__file__).resolve().parent / "examples" / "cluster"
SCRIPTS = sorted(p for p in FOLDER.iterdir() if p.suffix in (".sh", ".sbatch"))
MANIFESTS = sorted(FOLDER.glob("*.yaml"))


def job(path: Path) -> Any:
    (document,) = yaml.safe_load_all(path.read_text())
    return document


def container(path: Path) -> Any:
    (found,) = job(path)["spec"]["template"]["spec"]["containers"]
    return found


def words_of(path: Path) -> list[str]:
    """Return the words after ``cryoprobe`` that a script or manifest starts."""
    if path.suffix == ".yaml":
        program, *words = container(path)["command"]
        assert program == "cryoprobe"
        return words
    lines = path.read_text().replace("\\\n", " ").splitlines()
    (line,) = [line for line in lines if re.search(r"\bcryoprobe extract\b", line)]
    return shlex.split(line.split("cryoprobe ", 1)[1].removesuffix("&"))


def test_there_are_scripts_and_manifests_and_the_readme_names_each() -> None:
    readme = (FOLDER / "README.md").read_text()
    assert len(SCRIPTS) == 4
    assert len(MANIFESTS) == 1
    assert [p.name for p in (*SCRIPTS, *MANIFESTS) if f"`{p.name}`" not in readme] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_bash_reads_each_script(script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", [*SCRIPTS, *MANIFESTS], ids=lambda p: p.name)
def test_each_calls_the_command_with_options_that_it_has(path: Path) -> None:
    name, *words = words_of(path)
    command = typer.main.get_command(app)
    assert name == "extract"
    found = command.commands[name]  # type: ignore[attr-defined]
    context = found.make_context(name, list(words), resilient_parsing=False)
    assert context.params["model"] == "timm:vit_base_patch16_dinov3"
    assert context.params["precision"] == "bf16"
    assert context.params["store"] == "s3://bucket/features"


def test_kubernetes_is_told_how_many_pods_there_are() -> None:
    (manifest,) = MANIFESTS
    spec, env = job(manifest)["spec"], {e["name"]: e["value"] for e in container(manifest)["env"]}
    assert job(manifest)["kind"] == "Job"
    assert spec["completionMode"] == "Indexed"
    assert env["WORLD_SIZE"] == str(spec["completions"]) == str(spec["parallelism"])
    volumes = {v["name"] for v in spec["template"]["spec"]["volumes"]}
    assert {m["name"] for m in container(manifest)["volumeMounts"]} == volumes
