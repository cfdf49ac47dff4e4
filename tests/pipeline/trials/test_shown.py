"""Results, stores and feature sets show themselves: in a line, in a notebook, and as a table of pandas."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.data import put_set

import cryoprobe
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
