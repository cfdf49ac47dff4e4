"""The command that repeats a trial asks for that very trial."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cli import run

import cryoprobe
from cryoprobe.pipeline.comparing.matrix import matrix_of
from cryoprobe.pipeline.report.leaderboard import sections
from cryoprobe.pipeline.report.provenance import again
from cryoprobe.pipeline.report.section import ReportData
from cryoprobe.stores.store import Store

HELD_OUT = {"test_split": "0.3", "seeds": 2, "seed": 5}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("again")
    rng, y = np.random.default_rng(0), np.arange(80) % 4
    x = (np.eye(4, 8)[y] + rng.normal(size=(80, 8))).astype(np.float32)
    np.savez(folder / "added.npz", train_embeddings=x, train_labels=y, test_embeddings=-x, test_labels=y)
    opened = cryoprobe.open_store(folder / "store", create=True)
    cryoprobe.add(folder / "added.npz", opened, model="m", dataset="d", model_version="1", progress=False)
    return opened


@pytest.mark.parametrize(
    "asked",
    [
        {"probe": "ridge", "grid": {"alpha": [0.3162277660168379, 10.0]}},
        {"probe": "logreg", "C": [0.1, 1.0], "choose_by": "top1"},
        {"probe": "lda", "grid": {"shrinkage": [0.1, 0.5]}, "choose_by": "top1"},
        {"probe": "ridge", "grid": {"alpha": [0.1, 1.0]}, "val_split": "0.123456789"},
        {"probe": "nearest-mean", "shots": [2], "seeds": 2, "seed": 3},
        {"probe": "logreg", "C": [0.1, 1.0], **HELD_OUT},
    ],
)
def test_it_answers_with_the_trial(store: Store, asked: dict[str, Any]) -> None:
    for trial in cryoprobe.probe(store, model="m", dataset="d", progress=False, **asked).trials:
        before = len(cryoprobe.results(store))
        shown = run(*shlex.split(again(store.url, trial))[1:], "--json").stdout
        assert trial.trial in shown
        assert len(cryoprobe.results(store)) == before


def test_the_page_marks_nothing_if_no_model_is_worse(store: Store, tmp_path: Path) -> None:
    cryoprobe.probe(store, model="m", dataset="d", probe="nearest-mean", progress=False)
    trials = cryoprobe.results(store, probe="nearest-mean")
    (section,) = sections(ReportData(store, trials, matrix_of(store, trials)))
    table = section.html[: section.html.index('class="key"')]
    assert 'class="num best"' not in table
    assert "≈" not in table
