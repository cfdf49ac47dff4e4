"""`cryoprobe run`, and `probe` of several, as people meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import run
from support.suite_data import write_parts

SUITE = """\
models = ["lab_parts:pixels", "lab_parts:means"]
data = ["npz:ants.npz", "npz:bees.npz"]
protocols = ["knn", {probe = "ridge", grid = {alpha = [0.1, 1.0]}}]
store = "features"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_parts(tmp_path)
    (tmp_path / "suite.toml").write_text(SUITE)
    return tmp_path


def test_a_suite_prints_a_line_for_each_cell_the_matrix_and_the_command_for_the_page() -> None:
    done = run("run", "suite.toml")
    assert "[8/8] lab_parts:means · npz:bees.npz · ridge" in done.stderr
    assert "8 cells, 0 from the store, 360 images encoded" in done.stdout
    assert "mean rank" in done.stdout
    assert "cryoprobe report --store" in done.stdout
    again = run("run", "suite.toml")
    assert "8 cells, 8 from the store, 0 images encoded" in again.stdout


def test_without_a_file_the_rows_are_options_and_what_is_there_is_not_done_again() -> None:
    names = ("-m", "lab_parts:pixels", "-m", "lab_parts:means", "-d", "npz:ants.npz")
    done = json.loads(run("run", *names, "--probe", "knn", "--store", "features", "batch_size=8", "--json").stdout)
    assert [cell["status"] for cell in done["cells"]] == ["done", "done"]
    again = run("run", "suite.toml", "--probe", "knn", "-d", "npz:ants.npz", "--json")
    assert [cell["status"] for cell in json.loads(again.stdout)["cells"]] == ["stored", "stored"]


def test_a_dry_run_prices_the_plan_and_makes_no_store(folder: Path) -> None:
    done = run("run", "suite.toml", "--dry-run")
    assert done.stdout.count("to make") == 4
    assert done.stdout.count("to run") == 8
    assert "360 images to encode" in done.stderr
    assert "Nothing was written to the store" in done.stderr
    assert not (folder / "features").exists()
    plan = json.loads(run("run", "suite.toml", "--dry-run", "--json").stdout)
    assert (plan["images"], plan["to_run"]) == (360, 8)


def test_failed_cells_are_listed_at_the_end_with_the_command_that_repeats_them() -> None:
    done = run("run", "suite.toml", "-m", "lab_parts:pixels", "data.1.name=npz:none.npz", code=3)
    assert "2 cells of 4 failed:" in done.stderr
    command = "cryoprobe run --model lab_parts:pixels --dataset npz:none.npz --probe knn --store"
    assert command in done.stderr
    assert "4 cells, 0 from the store" in done.stdout


def test_a_wrong_suite_or_override_ends_in_one_message() -> None:
    assert "Did you mean 'batch_size'?" in run("run", "suite.toml", "batchsize=3", code=2).stderr
    assert "is a second suite" in run("run", "suite.toml", "other.toml", code=2).stderr
    assert "The suite has no models" in run("run", "-d", "npz:ants.npz", "--store", "s", code=2).stderr
    assert "names no store" in run("run", "-m", "lab_parts:pixels", "-d", "npz:ants.npz", code=2).stderr


def test_several_without_a_name_of_each_kind_are_refused_with_what_is_missing() -> None:
    run("run", "suite.toml", "-q")
    where = ("--store", "features")
    no_data = run("probe", "-m", "lab_parts:pixels", "-m", "lab_parts:means", *where, code=2)
    assert "--dataset is missing" in no_data.stderr
    no_model = run("probe", "-d", "npz:ants.npz", "--protocol", "clip", "--protocol", "dinov2-knn", *where, code=2)
    assert "--model is missing" in no_model.stderr


def test_a_dry_run_reads_the_stores_below_and_commands_name_them(folder: Path) -> None:
    names = ("-m", "lab_parts:pixels", "-d", "npz:ants.npz", "--probe", "knn")
    run("run", *names, "--store", "shared", "-q")
    below = (*names, "--store", "own", "--from", "shared", "--trust")
    plan = json.loads(run("run", *below, "--dry-run", "--json").stdout)
    assert (plan["images"], [cell["status"] for cell in plan["cells"]]) == (0, ["stored"])
    assert not (folder / "own").exists()
    (cell,) = json.loads(run("run", *below, "--json").stdout)["cells"]
    assert (cell["status"], "--from shared --trust" in cell["command"]) == ("stored", True)
    apart = json.loads(run("run", *below[:-1], "--dry-run", "--json").stdout)
    assert [one["status"] for one in apart["cells"]] == ["to run"]  # what is not trusted does not stand in
    many = ("probe", *names[:4], "--protocol", "dinov2-knn", "--protocol", "clip-readme", *below[6:], "--json")
    assert "--from shared --trust" in json.loads(run(*many).stdout)["cells"][0]["command"]


def test_probe_of_several_prints_the_matrix_and_of_one_what_it_always_did() -> None:
    run("run", "suite.toml", "-q")
    names = ("-m", "lab_parts:pixels", "-m", "lab_parts:means", "-d", "npz:ants.npz", "-d", "npz:bees.npz")
    many = run("probe", *names, "--probe", "knn", "--store", "features")
    assert "4 cells, 4 from the store" in many.stdout
    one = run("probe", "-m", "lab_parts:pixels", "-d", "npz:ants.npz", "--probe", "knn", "--store", "features")
    assert "answered from the store" in one.stdout
    assert "95 % interval" in one.stdout
    both = ("-m", "lab_parts:pixels", "-d", "npz:ants.npz", "--protocol", "dinov2-knn", "--protocol", "clip")
    done = run("probe", *both, "--store", "features", "--json", "-q")
    assert [cell["what"] for cell in json.loads(done.stdout)["cells"]] == ["protocol dinov2-knn", "protocol clip"]
    refused = run("probe", *names, "--save", "p.safetensors", "--store", "features", code=2)
    assert "--save cannot be combined with several" in refused.stderr
