"""`compare` and the matrix, on trials of a store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from support.data import put_set
from support.once import once

import cryoprobe
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.comparing.matrix import matrix_of
from cryoprobe.stores.store import Store

CLASSES = ("ant", "bee", "cat", "dog")
MODELS = {"timm:clear": 0.1, "timm:twin": 0.1, "timm:noisy": 2.5}


def fill(
    store: Store, dataset: str, model: str, noise: float, *, seed: int = 0, tests: slice = slice(None), **name: Any
) -> None:
    """Put a train and a test set in: the same samples for every model, under noise of its own."""
    for split, n in (("train", 200), ("test", 240)):
        rng = np.random.default_rng([seed, n])
        y = rng.integers(0, 4, n)
        x = 1.2 * np.eye(4, 8)[y] + rng.normal(size=(n, 8))
        own = np.random.default_rng(hashlib.sha256(f"{model} {name}".encode()).digest()[0])
        x = (x + noise * own.normal(size=x.shape)).astype(np.float32)
        taken = tests if split == "test" else slice(None)
        ids = [hashlib.sha256(f"{dataset} {split} {i}".encode()).digest() for i in range(n)][taken]
        named = {"encoder": f"{model} {name}", "model": model, "dataset": f"folder:/{dataset}", **name}
        found = put_set(store, x[taken], y[taken], classes=CLASSES, split=split, ids=ids, **named)
        store.name_samples(found, [f"{split}/{i}.png" for i in range(n)][taken])


def probe(store: Store, dataset: str, model: str, **options: Any) -> cryoprobe.Sweep:
    asked = {"probe": "nearest-mean", "progress": False, **options}
    return cryoprobe.probe(store, model=model, dataset=f"folder:/{dataset}", **asked)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    def make(folder: Path) -> None:
        opened = cryoprobe.open_store(folder / "store", create=True)
        for seed, dataset in enumerate(("one", "two", "three")):
            for model, noise in MODELS.items():
                fill(opened, dataset, model, noise, seed=seed)
                probe(opened, dataset, model)
        for model in MODELS:
            probe(opened, "one", model, shots=[8], seeds=3)

    return cryoprobe.open_store(once(tmp_path_factory, "compare", make) / "store")


class TestPairs:
    def test_one_sentence_says_what_was_found_and_how_sure_it_is(self, store: Store) -> None:
        found = cryoprobe.compare(store, "timm:noisy", "timm:clear", dataset="folder:/two")
        pair = found.pair
        scores = {t.model: t.metrics["top1"] for t in cryoprobe.results(store, dataset="folder:/two")}
        assert pair.difference == pytest.approx(scores["timm:noisy"] - scores["timm:clear"])
        assert pair.low < pair.difference < pair.high < 0
        points = f"{-100 * pair.difference:.1f} points better than timm:noisy in top1 on folder:/two with nearest-mean"
        assert f"timm:clear is {points} (95 %: {-100 * pair.high:.1f} to {-100 * pair.low:.1f}, p <" in pair.sentence
        assert pair.sentence.endswith("240 test rows)")
        assert pair.sentence in repr(found)
        assert json.loads(json.dumps(found.document))["pairs"][0]["sentence"] == pair.sentence

    def test_equal_models_cannot_be_told_apart(self, store: Store) -> None:
        pair = cryoprobe.compare(store, "timm:clear", "timm:twin", dataset="folder:/two").pair
        assert "cannot be told apart" in pair.sentence
        assert pair.low <= 0 <= pair.high

    def test_samples_and_classes_are_those_of_the_predictions(self, store: Store) -> None:
        pair = cryoprobe.compare(store, "timm:clear", "timm:noisy", dataset="folder:/two", top=500).pair
        wrong = {
            side: {m.name for m in cryoprobe.mistakes(store, pair.trials[i][0])} for i, side in enumerate(("a", "b"))
        }
        assert {e.name for e in pair.examples if e.right == "a"} == wrong["b"] - wrong["a"]
        assert {e.name for e in pair.examples if e.right == "b"} == wrong["a"] - wrong["b"]
        assert (pair.only_a, pair.only_b) == (len(wrong["b"] - wrong["a"]), len(wrong["a"] - wrong["b"]))
        trial = cryoprobe.trial(store, pair.trials[0][0])
        recalls = dict(zip(trial.classes, trial.metrics["per_class"]["recall"], strict=True))
        assert {c.name: c.a for c in pair.classes} == pytest.approx(recalls)
        assert [c.p for c in pair.classes] == sorted(c.p for c in pair.classes)

    def test_draws_are_compared_together(self, store: Store) -> None:
        found = cryoprobe.compare(store, "timm:clear", "timm:noisy", dataset="folder:/one")
        (pair,) = [p for p in found.pairs if p.column.draw == "8 a class"]
        assert (pair.draws, pair.test, pair.p_bootstrap) == (3, "t over rows and draws", None)
        assert "3 draws" in pair.sentence

    def test_a_single_draw_is_said_to_be_one(self, store: Store) -> None:
        a, b = (
            next(t.trial for t in cryoprobe.results(store, model=model) if t.draw is not None and t.seed == 0)
            for model in ("timm:clear", "timm:noisy")
        )
        found = cryoprobe.compare(store, a, b[:12])
        assert found.pair.draws == 1
        assert "a single draw each" in found.notes[0]

    def test_p_values_are_corrected_for_all_comparisons_of_a_call(self, store: Store) -> None:
        found = cryoprobe.compare(store, *MODELS, probe="nearest-mean")
        assert len(found.pairs) == 12
        assert all(pair.p_corrected >= pair.p for pair in found.pairs)
        assert max(pair.p_corrected / max(pair.p, 1e-300) for pair in found.pairs) > 1
        assert found.ranking is not None
        assert found.ranking.models[-1] == "timm:noisy"
        assert len(found.ranking.datasets) == 3
        assert len(found.to_pandas()) == 12


class TestWhatIsCompared:
    def test_sets_and_trials_stand_for_themselves(self, store: Store) -> None:
        trials = {t.model: t for t in cryoprobe.results(store, dataset="folder:/two")}
        one, other = trials["timm:clear"], trials["timm:noisy"]
        by_name = cryoprobe.compare(store, "timm:clear", "timm:noisy", dataset="folder:/two").pair
        for a, b in ((one.trial[:12], other.trial), (str(one.train), str(other.train)[:12]), (one.trial, "timm:noisy")):
            assert cryoprobe.compare(store, a, b).pair.sentence == by_name.sentence

    def test_two_probes_of_one_model(self, tmp_path: Path) -> None:
        store = cryoprobe.open_store(tmp_path / "store", create=True)
        fill(store, "d", "timm:m", 0.1)
        linear = probe(store, "d", "timm:m", probe="ridge", grid={"alpha": [1.0]}).trial
        found = cryoprobe.compare(store, linear.trial, probe(store, "d", "timm:m").trial.trial)
        assert found.models == ("timm:m, ridge alpha=1", "timm:m, nearest-mean")
        assert "on folder:/d with ridge alpha=1 / nearest-mean" in found.pair.sentence

    @pytest.mark.parametrize(
        ("which", "message"),
        [
            (("timm:clear", "timm:nobody"), "There are trials of: timm:clear, timm:noisy, timm:twin"),
            (("timm:clear",), "Two different models"),
            (("timm:clear", "timm:clear"), "Two different models"),
            (("timm:clear", "timm:*"), "fits several models"),
            (("timm:clear", "abcdef"), "No trial of abcdef"),
        ],
    )
    def test_what_is_not_there_is_said(self, store: Store, which: tuple[str, ...], message: str) -> None:
        with pytest.raises((BadInput, NotFound), match=message.replace("*", ".")):
            cryoprobe.compare(store, *which)

    def test_trials_of_different_samples_are_refused(self, store: Store) -> None:
        trials = [next(t for t in cryoprobe.results(store, dataset=f"folder:/{d}")) for d in ("two", "three")]
        with pytest.raises(NotFound, match="share no test sample"):
            cryoprobe.compare(store, *(t.trial for t in trials))


class TestRows:
    def test_rows_that_only_one_has_are_left_out_with_a_note(self, tmp_path: Path) -> None:
        store = cryoprobe.open_store(tmp_path / "store", create=True)
        fill(store, "d", "timm:clear", 0.1)
        fill(store, "d", "timm:noisy", 2.5, tests=slice(40, None))
        a, b = (probe(store, "d", model).trial for model in ("timm:clear", "timm:noisy"))
        pair = cryoprobe.compare(store, "timm:clear", "timm:noisy").pair
        assert pair.rows == 200
        assert "only the 200 of 240 test rows that all have" in pair.notes[0]
        wrong = [{m.name for m in cryoprobe.mistakes(store, t.trial)} for t in (a, b)]
        there = {f"test/{i}.png" for i in range(40, 240)}
        assert pair.difference == pytest.approx((len(wrong[1]) - len(wrong[0] & there)) / 200)

    def test_rows_without_ids_and_names_are_paired_by_number_with_a_note(self, tmp_path: Path) -> None:
        rng, y = np.random.default_rng(0), np.arange(80) % 4
        store = cryoprobe.open_store(tmp_path / "store", create=True)
        for model in ("mine", "yours"):
            files = [tmp_path / f"{model}-{split}.npz" for split in ("train", "test")]
            for file in files:
                x = (np.eye(4, 8)[y] + 0.6 * rng.normal(size=(80, 8))).astype(np.float32)
                np.savez(file, embeddings=x, labels=y)
            cryoprobe.add(files, store, model=model, dataset="d", split=["train", "test"])
            cryoprobe.probe(store, model=model, dataset="d", probe="nearest-mean", progress=False)
        pair = cryoprobe.compare(store, "mine", "yours").pair
        assert pair.rows == 80
        assert "paired by row number" in pair.notes[0]

    def test_trials_without_predictions_are_compared_by_intervals_with_a_note(self, tmp_path: Path) -> None:
        store = cryoprobe.open_store(tmp_path / "store", create=True)
        for model in ("timm:clear", "timm:noisy"):
            fill(store, "d", model, MODELS[model])
            trial = probe(store, "d", model).trial
        stored = {k: v for k, v in trial.stored.items() if k != "predictions"}
        store.record_trial(trial.trial, stored, replace=True)
        found = cryoprobe.compare(store, "timm:clear", "timm:noisy")
        assert found.pair.test == "intervals"
        assert any("are not kept" in note for note in found.notes)
        matrix = cryoprobe.results(store).pivot()
        assert any("compared by intervals" in note for note in matrix.notes)
        assert [cell.tied for cell in matrix.cells.values()].count(True) == 1

    def test_a_share_of_train_that_is_held_out_is_matched_by_its_rows(self, tmp_path: Path) -> None:
        store = cryoprobe.open_store(tmp_path / "store", create=True)
        for model in ("timm:clear", "timm:noisy"):
            fill(store, "d", model, MODELS[model])
        trials = [probe(store, "d", m, test_split="0.5", seed=3).trial for m in ("timm:clear", "timm:noisy")]
        pair = cryoprobe.compare(store, *(t.trial for t in trials)).pair
        assert (pair.rows, pair.notes) == (100, ())
        assert {e.name for e in pair.examples if e.right == "a"} <= {
            m.name for m in cryoprobe.mistakes(store, trials[1].trial)
        }


def test_flags_are_compared_by_mean_average_precision(tmp_path: Path) -> None:
    store = cryoprobe.open_store(tmp_path / "store", create=True)
    for model, noise in (("timm:clear", 0.5), ("timm:noisy", 3.0)):
        for split, n in (("train", 150), ("test", 200)):
            rng = np.random.default_rng(n)
            y = (rng.random((n, 3)) < 0.4).astype(np.uint8)
            x = np.hstack([y, rng.normal(size=(n, 5))]) + noise * rng.normal(size=(n, 8))
            ids = [hashlib.sha256(f"{split} {i}".encode()).digest() for i in range(n)]
            named = {"encoder": model, "model": model, "ids": ids}
            put_set(store, x.astype(np.float32), y, classes=CLASSES[:3], split=split, **named)
        cryoprobe.probe(store, model=model, dataset="folder:/d", C=1.0, progress=False)
    pair = cryoprobe.compare(store, "timm:clear", "timm:noisy").pair
    trials = [cryoprobe.trial(store, ids[0]) for ids in pair.trials]
    assert pair.column.metric == "map"
    assert pair.difference == pytest.approx(trials[0].metrics["map"] - trials[1].metrics["map"], abs=1e-6)
    assert pair.differs
    assert pair.low > 0
    (best,) = [cell.model for cell in cryoprobe.results(store).pivot().cells.values() if cell.tied]
    assert best == "timm:clear"


class TestMatrix:
    def test_cells_hold_means_intervals_and_what_cannot_be_told_apart(self, store: Store) -> None:
        matrix = cryoprobe.results(store).pivot()
        assert matrix.models == ("timm:clear", "timm:noisy", "timm:twin")
        assert [c.text for c in matrix.columns][:2] == [
            "folder:/one, nearest-mean: top1",
            "folder:/one, nearest-mean, 8 a class: top1",
        ]
        for column in matrix.columns:
            clear, noisy, twin = matrix.in_column(column)
            assert (clear.tied, twin.tied, noisy.tied) == (True, True, False)
            assert clear.best or twin.best
            for cell in (clear, noisy, twin):
                scores = [trial.score for trial in cell.trials]
                assert cell.score == pytest.approx(np.mean(scores))
                assert cell.low < cell.score < cell.high
        drawn = matrix.cells["timm:clear", matrix.columns[1]]
        assert drawn.std == pytest.approx(np.std([trial.score for trial in drawn.trials], ddof=1))
        assert matrix.mean_ranks["timm:noisy"] == 3

    def test_tables_of_pandas(self, store: Store) -> None:
        matrix = cryoprobe.results(store).pivot()
        assert len(matrix.to_pandas()) == 12
        wide = matrix.to_pandas(wide=True)
        assert list(wide["model"]) == list(matrix.models)
        score = matrix.cells["timm:clear", matrix.columns[0]].score
        assert wide["folder:/one, nearest-mean: top1"][0] == score
        assert isinstance(wide, pandas.DataFrame)
        assert json.loads(json.dumps(matrix.document))["models"] == list(matrix.models)

    def test_extractions_of_one_model_have_names_of_their_own(self, tmp_path: Path) -> None:
        store = cryoprobe.open_store(tmp_path / "store", create=True)
        for name in ({"tap": "cls"}, {"tap": "patch_mean"}):
            fill(store, "d", "timm:m", 0.1, **name)
            probe(store, "d", "timm:m", tap=name["tap"])
        fill(store, "d", "timm:other", 0.1, untrained=True)
        probe(store, "d", "timm:other", untrained=True)
        models = cryoprobe.results(store).pivot().models
        assert set(models) == {"timm:m (cls)", "timm:m (patch_mean)", "timm:other (untrained)"}
        assert cryoprobe.compare(store, "timm:m (cls)", "timm:m (patch_mean)").pair.rows == 240
        with pytest.raises(BadInput, match="several extractions"):
            cryoprobe.compare(store, "timm:m", "timm:other")

    def test_of_several_settings_the_newest_counts_with_a_note(self, tmp_path: Path) -> None:
        store = cryoprobe.open_store(tmp_path / "store", create=True)
        fill(store, "d", "timm:m", 0.1)
        first = probe(store, "d", "timm:m", probe="ridge", grid={"alpha": [0.1, 1.0]}).trial
        second = probe(store, "d", "timm:m", probe="ridge", grid={"alpha": [0.1, 1.0, 10.0]}).trial
        later = second.model_copy(update={"created": first.created + 1000})
        matrix = matrix_of(store, [later, first])
        assert [cell.trials for cell in matrix.cells.values()] == [(later,)]
        assert "2 settings (they differ in grid); the newest counts" in matrix.notes[0]

    def test_trials_of_no_store_cannot_be_pivoted(self, store: Store) -> None:
        with pytest.raises(ValueError, match="of no store"):
            cryoprobe.Trials(list(cryoprobe.results(store))).pivot()
