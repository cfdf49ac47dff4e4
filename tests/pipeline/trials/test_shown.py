"""Results, stores and feature sets show themselves: in a line, in a notebook, and as a table of pandas."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from support.data import put_set

import cryoprobe
from cryoprobe.checksummed import dump_document
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.trials.lines import lines_of
from cryoprobe.stores.store import Store

NAMES = {"model": "timm:m", "dataset": "folder:/d"}
CLASSES = ("ant", "bee", "<b>cat</b>")


@pytest.fixture
def filled(store: Path) -> Iterator[Store]:
    opened = cryoprobe.open_store(store, create=True)
    rng = np.random.default_rng(0)
    for split, n in (("train", 60), ("test", 30)):
        y = np.arange(n) % 3
        put_set(opened, np.eye(3, 8)[y] + rng.normal(0, 0.3, (n, 8)), y, classes=CLASSES, split=split)
    return opened


def test_one_trial_is_read_by_attributes_and_by_items(filled: Store) -> None:
    result = cryoprobe.probe(filled, **NAMES, probe="ridge")
    trial = result.trial
    assert len(result) == 1
    assert trial.metrics == result["metrics"] == result["trials"][0]["metrics"]
    assert trial.score == result["metrics"][result["metric"]]
    assert result.summary[0].metrics["top1"] == {"mean": trial.score, "std": None}
    assert (result.cached, trial.cached) == (0, False)
    assert "no such field" not in result
    with pytest.raises(KeyError):
        result["no such field"]
    assert repr(result) == repr(trial)
    assert f"ridge on timm:m, folder:/d: top1 {trial.score:.4f}" in repr(trial)


def test_of_several_trials_none_is_the_trial(filled: Store) -> None:
    result = cryoprobe.probe(filled, **NAMES, probe="nearest-mean", shots=[1, 2], seeds=2)
    with pytest.raises(ValueError, match="These are 4 trials"):
        _ = result.trial
    with pytest.raises(KeyError):
        result["rows"]
    assert [t.seed for t in result] == [0, 1, 0, 1]
    assert "1 a class: top1" in repr(result)
    assert result._repr_html_().count("<tr>") == 5


def test_tables_have_a_row_for_each_trial(filled: Store) -> None:
    sweep = cryoprobe.probe(filled, **NAMES, probe="nearest-mean", shots=[2], seeds=3)
    frame = sweep.to_pandas()
    assert list(frame["shots"]) == [2, 2, 2]
    assert list(frame["top1"]) == [t.metrics["top1"] for t in sweep]
    listed = cryoprobe.results(filled)
    assert sorted(listed.to_pandas()["trial"]) == sorted(t.trial for t in sweep)
    assert listed._repr_html_().count("<tr>") == 4
    assert cryoprobe.results(filled, model="nobody's").to_pandas().empty


def test_without_pandas_it_is_said_how_to_install_it(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NotFound, match="pandas is not installed"):
        cryoprobe.results(filled).to_pandas()


def test_notebooks_show_stores_and_sets_with_all_text_escaped(store: Path) -> None:
    opened = cryoprobe.open_store(store, create=True)
    name = "<script>alert(1)</script>"
    put_set(opened, np.eye(3, 8), np.arange(3), classes=CLASSES, split=name)
    shown = opened._repr_html_()
    assert "Store" in shown
    assert name not in shown
    assert "&lt;script&gt;" in shown
    feature_set = opened.open(opened.names()[0].set)
    assert feature_set.id[:12] in feature_set._repr_html_()
    assert name not in feature_set._repr_html_()


def test_draws_of_one_setting_are_one_line(filled: Store) -> None:
    few = cryoprobe.probe(filled, **NAMES, probe="nearest-mean", shots=[1, 4], seeds=3)
    whole = cryoprobe.probe(filled, **NAMES, probe="ridge")
    other = cryoprobe.probe(filled, **NAMES, probe="ridge", params={"alpha": 5.0})
    lines = lines_of(cryoprobe.results(filled))
    assert sorted(len(line.trials) for line in lines) == [1, 1, 3, 3]
    by_draw = {str(line.first.get("draw")): line for line in lines if len(line.trials) == 3}
    assert by_draw["{'shots': 1}"].spread("top1") == few.summary[0].metrics["top1"]
    assert {line.mean for line in lines if len(line.trials) == 1} == {whole.trial.score, other.trial.score}
    best = lines_of(cryoprobe.results(filled), sort="score")
    assert [line.mean for line in best] == sorted([line.mean for line in best], reverse=True)
    with pytest.raises(BadInput, match="cannot be sorted by 'luck'"):
        lines_of(cryoprobe.results(filled), sort="luck")


def test_results_are_filtered_by_probe_and_protocol(filled: Store) -> None:
    for probe in ("ridge", "nearest-mean"):
        cryoprobe.probe(filled, **NAMES, probe=probe)
    assert [t.probe for t in cryoprobe.results(filled, probe="rid*")] == ["ridge"]
    assert len(cryoprobe.results(filled, protocol="plain")) == 2
    assert cryoprobe.results(filled, protocol="clip*") == []


def test_a_trial_can_be_read_as_a_dict_and_a_sweep_as_a_sequence(filled: Store) -> None:
    sweep = cryoprobe.probe(filled, **NAMES, probe="nearest-mean", shots=[1, 2])
    trial = sweep[0]
    assert sweep[:2] == sweep.trials[:2]
    assert trial in sweep
    assert dict(trial) == {**trial} == trial.document
    assert [*trial] == [*trial.keys()] == [name for name, _ in trial.items()]
    assert json.loads(json.dumps(trial.document)) == trial.document
    assert {t.trial for t in cryoprobe.results(filled)} == {t.trial for t in sweep}
    assert {*cryoprobe.results(filled)} == {*sweep}  # whichever of them the store had
    frame = pandas.DataFrame(cryoprobe.results(filled))
    assert list(frame["dim"]) == [8] * len(sweep)
    assert copy.deepcopy(trial) == pickle.loads(pickle.dumps(trial)) == trial


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"top1": "0.99"}},
        {"metric": "per_class", "metrics": {"per_class": {}}},
        {"metrics": {"top1": 0.5, "nll_rows": "a"}},
    ],
)
def test_a_stranger_s_score_that_is_no_number_is_left_out_of_lists(filled: Store, change: dict[str, Any]) -> None:
    one = cryoprobe.probe(filled, **NAMES, probe="nearest-mean").trial
    filled.record_trial("0" * 64, {**one.stored, **change, "trial": "0" * 64})
    assert [t.trial for t in cryoprobe.results(filled)] == [one.trial]
    assert "top1" in repr(cryoprobe.results(filled))


def test_what_nothing_is_computed_with_may_have_any_form(filled: Store) -> None:
    one = cryoprobe.probe(filled, **NAMES, probe="nearest-mean", shots=[2], seeds=1).trial
    odd = {"solver": None, "versions": 3, "splits": [], "encoder": 1, "draw": {"shots": 2, "fraction": None}}
    filled.record_trial(one.trial, {**one.stored, **odd}, replace=True)
    again = cryoprobe.probe(filled, **NAMES, probe="nearest-mean", shots=[2], seeds=1)
    assert again.cached == 1
    assert again.summary[0].draw == {"shots": 2}


def test_a_set_with_an_odd_name_is_probed_by_its_id(store: Path) -> None:
    opened = cryoprobe.open_store(store, create=True)
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    put_set(opened, np.eye(3, 8)[y] + rng.normal(0, 0.3, (60, 8)), y, classes=CLASSES, split="all")
    (key,) = [key for key, _ in opened.backend.list("manifests/")]
    manifest = json.loads(opened.backend.get(key))
    manifest["provenance"]["name"] = {"model": 5, "dataset": {"deep": 1}, "tap": None}
    del manifest["checksum"]
    opened.backend.put(key, dump_document(manifest))
    for name in [name for name, _ in opened.backend.list("names/")]:
        opened.backend.delete(name)
    result = cryoprobe.probe(opened, train=manifest["set"], probe="nearest-mean")
    assert result.trial.model is None
    assert result.trial.score is not None
