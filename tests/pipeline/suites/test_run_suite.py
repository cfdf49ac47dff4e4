"""A suite encodes each image once for each model, runs what the store lacks, and goes on where a cell fails."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.suite_data import write_parts

import cryoprobe
from cryoprobe.pipeline.suites.cells import pairs_of
from cryoprobe.pipeline.suites.commands import probe_command
from cryoprobe.pipeline.suites.read_suite import read_suite
from cryoprobe.suite_progress import CellState
from cryoprobe.suite_table import LiveTable

PROTOCOLS = ["knn", {"probe": "ridge", "grid": {"alpha": [0.1, 1.0]}}]


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return {**write_parts(tmp_path), "protocols": PROTOCOLS, "store": "features"}


def test_each_pair_is_encoded_once_and_the_second_run_finds_everything(suite: dict[str, Any]) -> None:
    plan = cryoprobe.plan_suite(suite)
    assert (plan.images, plan.to_run, Path("features").exists()) == (4 * 90, 8, False)
    first = cryoprobe.run_suite(suite)
    assert [one.encoded for one in first.extractions] == [90] * 4
    assert [cell.status for cell in first.cells] == ["done"] * 8
    second = cryoprobe.run_suite(suite)
    assert [one.encoded for one in second.extractions] == [0] * 4
    assert [cell.status for cell in second.cells] == ["stored"] * 8
    assert [trial.trial for trial in second.trials] == [trial.trial for trial in first.trials]
    again = cryoprobe.plan_suite(suite)
    assert (again.images, again.to_run) == (0, 0)


def test_a_cell_has_the_trial_that_probe_answers(suite: dict[str, Any]) -> None:
    run = cryoprobe.run_suite(suite)
    for cell in run.cells:
        probe = "knn" if cell.what == "knn" else "ridge"
        grid = {} if probe == "knn" else {"grid": {"alpha": [0.1, 1.0]}}
        alone = cryoprobe.probe("features", model=cell.model, dataset=cell.dataset, probe=probe, **grid)
        assert cell.sweep is not None
        assert (alone.cached, alone.trial.trial) == (1, cell.sweep.trial.trial)


def test_an_encoder_is_loaded_once_for_all_data_sets(suite: dict[str, Any]) -> None:
    cryoprobe.run_suite(suite)
    assert Path("loaded.txt").read_text().split() == ["pixels", "means"]


def test_rows_that_are_given_twice_are_one(suite: dict[str, Any]) -> None:
    twice = {name: suite[name] * 2 for name in ("models", "data", "protocols")}
    assert len(cryoprobe.plan_suite({**suite, **twice}).cells) == 8
    one = {"models": ["lab_parts:pixels"] * 2, "data": ["npz:ants.npz"] * 2, "protocols": ["knn"] * 2}
    assert [cell.status for cell in cryoprobe.run_suite({**suite, **one}).cells] == ["done"]


def test_probes_of_one_name_are_told_apart_by_their_options(suite: dict[str, Any]) -> None:
    probes = [{"probe": "ridge", "seed": seed} for seed in (1, 2)]
    probes.append({"probe": "ridge"})
    plan = cryoprobe.plan_suite({**suite, "protocols": probes})
    assert {cell.what for cell in plan.cells} == {"ridge (seed=1)", "ridge (seed=2)", "ridge"}


def test_the_matrix_has_a_cell_for_each(suite: dict[str, Any]) -> None:
    run = cryoprobe.run_suite(suite)
    assert (len(run.matrix.models), len(run.matrix.columns), len(run.matrix.cells)) == (2, 4, 8)
    assert len(run.document["cells"]) == 8  # type: ignore[arg-type]


def test_a_trial_that_several_cells_have_counts_once_in_the_matrix(suite: dict[str, Any]) -> None:
    few = {"probe": "ridge", "shots": [2]}
    draws = [{**few, "seeds": 2}, {**few, "seeds": 3}]
    spelled = {"models": ["lab_parts:pixels"], "data": ["npz:ants.npz", "npz:./ants.npz"], "protocols": draws}
    run = cryoprobe.run_suite({**suite, **spelled})
    assert [len(cell.sweep or ()) for cell in run.cells] == [2, 3, 2, 3]
    assert [trial.seed for trial in run.trials] == [0, 1, 2]
    (cell,) = run.matrix.cells.values()
    assert [trial.seed for trial in cell.trials] == [0, 1, 2]


def test_a_tap_that_is_named_twice_is_one_and_the_tap_of_a_protocol_is_one_cell(suite: dict[str, Any]) -> None:
    model = {"name": "lab_parts:pixels", "taps": ["embedding", "embedding"]}
    run = cryoprobe.run_suite({**suite, "models": [model], "data": ["npz:ants.npz"], "protocols": ["knn"]})
    assert [(cell.model, cell.status) for cell in run.cells] == [("lab_parts:pixels", "done")]
    several = [{"name": "timm:a", "taps": ["cls", "cls@1", "patch_mean"]}]
    asked = read_suite({**suite, "models": several, "protocols": [{"probe": "knn", "tap": "cls"}, "ridge"]})
    cells = [(cell.model, cell.what, cell.where.tap) for cell in pairs_of(asked, ["--store", "s"])[0].cells]
    assert cells == [
        ("timm:a at cls", "knn", "cls"),
        ("timm:a at cls", "ridge", "cls"),
        ("timm:a at patch_mean", "ridge", "patch_mean"),
    ]


def test_a_failing_cell_stops_no_other_and_has_its_error_code_and_command(suite: dict[str, Any]) -> None:
    suite["models"] = ["lab_parts:broken", "lab_parts:pixels", "lab_parts:nothing"]
    suite["data"] = ["npz:ants.npz", "npz:missing.npz"]
    run = cryoprobe.run_suite(suite)
    assert [cell.status for cell in run.cells].count("done") == 2
    assert len(run.failed) == 10
    assert run.exit_code in (1, 2, 3)
    (done,) = {(cell.model, cell.dataset) for cell in run.cells if cell.status == "done"}
    assert done == ("lab_parts:pixels", "npz:ants.npz")
    for cell in run.failed:
        assert cell.failure is not None
        assert cell.failure.error
        assert cell.command.startswith(f"cryoprobe run --model {cell.model} --dataset {cell.dataset}")


def test_the_exit_code_is_that_of_the_failures_or_1_if_they_differ(suite: dict[str, Any]) -> None:
    missing = cryoprobe.run_suite({**suite, "models": ["lab_parts:pixels"], "data": ["npz:ants.npz", "npz:none.npz"]})
    assert {cell.failure.code for cell in missing.failed if cell.failure} == {missing.exit_code}
    assert missing.exit_code != 0
    assert cryoprobe.run_suite(suite).exit_code == 0


def test_taps_that_a_protocol_prescribes_are_left_out_where_the_encoder_lacks_them(suite: dict[str, Any]) -> None:
    few = {"protocol": "dinov2-linear", "params": {"iterations": 5}}
    run = cryoprobe.run_suite({**suite, "models": ["lab_parts:pixels"], "data": ["npz:ants.npz"], "protocols": [few]})
    (cell,) = run.cells
    assert cell.status == "done"
    assert any("the heads read the tap embedding alone" in note for note in run.notes)


@pytest.mark.slow
def test_rows_of_one_model_are_told_apart_and_prescribed_taps_are_encoded_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_parts(tmp_path)
    model = {"name": "timm:test_vit", "untrained": True, "image_size": 32}
    few = {"protocol": "dinov3-linear", "params": {"iterations": 5}}
    suite = {"models": [model, {**model, "seed": 1}], "data": ["npz:ants.npz"], "protocols": ["knn", few]}
    run = cryoprobe.run_suite(suite, tmp_path / "store")
    assert run.failed == ()
    assert [one.encoded for one in run.extractions] == [90, 90]
    assert {one.tap for one in run.extractions[0].sets} == {"pooled", "cls", "patch_mean"}
    assert [trial.tap for trial in run.trials] == ["pooled", "cls+patch_mean"] * 2
    assert len({trial.encoder for trial in run.trials}) == 4
    assert not any("default options" in note for note in run.notes)


def test_several_are_probed_on_stored_features_and_failures_are_told(suite: dict[str, Any]) -> None:
    cryoprobe.run_suite({**suite, "protocols": ["knn"]})
    many = cryoprobe.probe_many("features", ["lab_parts:pixels", "lab_parts:means"], suite["data"], probe="knn")
    assert [cell.status for cell in many.cells] == ["stored"] * 4
    assert many.extractions == ()
    some = cryoprobe.probe_many("features", ["lab_parts:pixels", "timm:other"], ["npz:ants.npz"], probe="knn")
    assert [cell.status for cell in some.cells] == ["stored", "failed"]
    assert some.exit_code == 3
    logged = probe_command(["--store", "s"], {"model": "timm:a", "log_to": ("mlflow:http://a,b", "wandb")})
    assert logged == "cryoprobe probe --model timm:a --log-to mlflow:http://a,b --log-to wandb --store s"
    with pytest.raises(cryoprobe.BadInput, match="--save cannot be combined with several"):
        cryoprobe.probe_many("features", ["lab_parts:pixels"], suite["data"], save="probe.safetensors")


class Watching(cryoprobe.SuiteReporter):
    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []
        self.closed = False

    def cells(self, states: Any) -> None:
        self.seen += [(i, state.status) for i, state in enumerate(states)]

    def cell(self, number: int, state: CellState) -> None:
        self.seen.append((number, state.status))

    def close(self) -> None:
        self.closed = True


def test_a_reporter_hears_what_becomes_of_each_cell(suite: dict[str, Any]) -> None:
    watching = Watching()
    cryoprobe.run_suite({**suite, "models": ["lab_parts:pixels"], "data": ["npz:ants.npz"]}, reporter=watching)
    assert [status for number, status in watching.seen if number == 1] == [
        "waiting",
        "encoding",
        "waiting",
        "probing",
        "done",
    ]
    assert watching.closed


def test_the_live_table_has_a_row_for_each_cell_the_rate_and_no_control_characters() -> None:
    out = io.StringIO()
    table = LiveTable(Console(file=out, force_terminal=True, width=120, height=30))
    states = [CellState("timm:a", f"d{i}", "knn") for i in range(4)]
    table.cells(states)
    table.cell(0, CellState("timm:a", "d0", "knn", "done", "top1 0.9321", 3.2))
    table.cell(1, CellState("timm:\x1b[31mred", "d1", "knn", "probing"))
    table.begin("d1 train", 100)
    table.advance(encoded=10)
    shown = Console(width=120, file=io.StringIO(), record=True)
    shown.print(table._render())
    text = shown.export_text()
    table.close()
    assert "top1 0.9321" in text
    assert "\\u001b[31mred" in text
    assert "1 of 4 cells · d1 train 10/100" in text
    assert "images/s" in text
    assert " left" in text
