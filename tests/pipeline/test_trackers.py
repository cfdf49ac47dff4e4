"""Trials are logged to experiment trackers: once each, with parameters, scores and curve; no result is lost by it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run
from support.data import put_set

import cryoprobe
from cryoprobe.errors import BadInput
from cryoprobe.pipeline.trackers import registry
from cryoprobe.pipeline.trackers.base import TrackedTrial, TrackerKind
from cryoprobe.stores.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = cryoprobe.open_store(tmp_path / "store", create=True)
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        y = np.arange(60) % 3
        x = (rng.normal(size=(60, 6)) + y[:, None]).astype(np.float32)
        put_set(opened, x, y, classes=["a", "b", "c"], split=split)
    return opened


BLOCK = 32768
PROBED = {"model": "timm:m", "dataset": "folder:/d"}
WORDS = ["probe", "--model", "timm:m", "--dataset", "folder:/d", "--C", "0.1,1,10"]


def test_mlflow_keeps_parameters_scores_and_curve_in_a_folder(store: Store, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    place = tmp_path / "runs"
    said = run(*WORDS, "--store", store.url, "--log-to", f"mlflow:{place}").stderr
    assert f"1 trial logged to mlflow:{place}" in said
    (trial,) = cryoprobe.results(store)
    client = mlflow.MlflowClient(tracking_uri=place.as_uri())
    experiment = client.get_experiment_by_name("cryoprobe").experiment_id
    (found,) = client.search_runs([experiment])
    assert found.info.run_name == "timm:m on folder:/d: logreg"
    assert found.info.status == "FINISHED"
    assert found.data.params["trial"] == trial.trial
    assert float(found.data.params["chosen.C"]) == trial.chosen["C"]
    assert found.data.metrics["top1"] == trial.metrics["top1"]
    assert found.data.metrics["top1.low"] == trial.intervals["top1"][0]
    curve = client.get_metric_history(found.info.run_id, "curve.nll")
    assert [(m.step, m.value) for m in curve] == [(i, point["nll"]) for i, point in enumerate(trial.curve)]
    assert [m.value for m in client.get_metric_history(found.info.run_id, "curve.C")] == [0.1, 1, 10]

    # The answer from the store is the same trial: it is not logged twice. Run again, it is another result.
    page = tmp_path / "report.html"
    page.write_text("<p>a page</p>")
    (line,) = cryoprobe.log_trials([trial], f"mlflow:{place}", page=page)
    assert "which had 1 of them before" in line
    runs = client.search_runs([experiment])
    assert sorted(run.info.run_name for run in runs) == ["page report.html", "timm:m on folder:/d: logreg"]
    (with_page,) = [run.info.run_id for run in runs if run.info.run_name.startswith("page")]
    assert [file.path for file in client.list_artifacts(with_page)] == ["report.html"]
    rerun = cryoprobe.probe(store, **PROBED, C=[0.1, 1, 10], rerun=True, log_to=f"mlflow:{place}")
    assert rerun.notes[-1] == f"1 trial logged to mlflow:{place}"
    assert len(client.search_runs([experiment])) == 3

    pytest.importorskip("vl_convert")
    written = tmp_path / "whole.html"
    said = run("report", "--store", store.url, "-o", str(written), "--no-images", "--log-to", f"mlflow:{place}").stderr
    assert f"1 trial logged to mlflow:{place}, which had 1 of them before" in said
    assert [file for file in place.rglob("whole.html") if file.read_bytes() == written.read_bytes()]


def test_weights_and_biases_writes_a_run_for_each_trial_offline(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for waits in ("WANDB_X_SERVICE_WAIT", "WANDB_INIT_TIMEOUT"):
        monkeypatch.setenv(waits, "300")  # seconds: the machine may be busy
    result = cryoprobe.probe(store, **PROBED, C=[0.1, 1], shots=[2], seeds=2, log_to="wandb:birds")
    assert result.notes[-1] == "2 trials logged to wandb:birds"
    files = list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(files) == 2
    for trial in result.trials:
        (file,) = [f for f in files if trial.trial[:16] in f.name]
        records = recorded(file)
        config = {item.key: json.loads(item.value_json) for r in records for item in r.run.config.update}
        assert (config["trial"], config["seed"], config["draw.shots"]) == (trial.trial, trial.seed, 2)
        steps = [{i.nested_key[0] or i.key: json.loads(i.value_json) for i in r.history.item} for r in records]
        steps = [step for step in steps if step]
        assert [step["curve.C"] for step in steps] == [0.1, 1]
        summary = {
            (item.nested_key[0] if item.nested_key else item.key): json.loads(item.value_json)
            for r in records
            for item in r.summary.update
        }
        assert summary["top1"] == trial.metrics["top1"]
    again = cryoprobe.probe(store, **PROBED, C=[0.1, 1], shots=[2], seeds=2, log_to="wandb:birds")
    assert "which had 2 of them before" in again.notes[-1]
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    next(tmp_path.glob("wandb/offline-run-*/cryoprobe-logged")).unlink()  # as if its run had been cut short
    third = cryoprobe.probe(store, **PROBED, C=[0.1, 1], shots=[2], seeds=2, log_to="wandb:birds")
    assert "which had 1 of them before" in third.notes[-1]


def recorded(file: Path) -> list[Any]:
    """Return the records of an offline run: a log as LevelDB has it, of protocol buffers, behind seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts, found = file.read_bytes(), 7, b"", []
    while at + 7 <= len(data):
        if (left := BLOCK - at % BLOCK) < 7:
            at += left
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


class Broken:
    def has(self, trial: TrackedTrial) -> bool:
        return False

    def log(self, trial: TrackedTrial) -> None:
        raise ConnectionError("no connection to https://me:secret@host/\nat all")

    def log_page(self, page: Path) -> None:
        raise AssertionError


def test_a_tracker_that_fails_is_one_line_and_the_result_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KINDS, "mlflow", TrackerKind("mlflow", lambda rest: Broken()))
    done = run(*WORDS, "--store", store.url, "--json", "--log-to", "mlflow:http://me:secret@host")
    sweep = json.loads(done.stdout)
    (note,) = sweep["notes"]
    assert note.startswith(
        "0 of 1 trial logged to mlflow:http://…@host, the others not: no connection to https://…@host/"
    )
    assert "\n" not in note
    assert "secret" not in done.stdout + done.stderr
    assert cryoprobe.probe(store, **PROBED, C=[0.1, 1, 10]).cached == 1


def test_an_unknown_tracker_is_refused_before_anything_is_run(store: Store) -> None:
    assert "no experiment tracker 'comet'" in run(*WORDS, "--store", store.url, "--log-to", "comet", code=2).stderr
    assert len(cryoprobe.results(store)) == 0


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_one_message(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(f"cryoprobe.pipeline.trackers.{name}_tracker.find_spec", lambda module: None)
    with pytest.raises(BadInput, match=rf"cryoprobe\[{name}\]"):
        cryoprobe.probe(store, **PROBED, log_to=name)


def test_what_is_not_a_number_is_not_a_score(store: Store) -> None:
    trial = cryoprobe.probe(store, **PROBED, probe="nearest-mean").trial
    broken = trial.model_copy(update={"metrics": {**trial.metrics, "nll": None, "x": float("nan"), "list": [1]}})
    scores = TrackedTrial.of(broken).scores
    assert {"nll", "x", "list", "confusion"} & scores.keys() == set()
    assert scores["top1"] == trial.metrics["top1"]
