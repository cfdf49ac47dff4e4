"""What is compared in a column of the matrix: one setting, the same test rows, trials that are trusted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cryoprobe
from cryoprobe.arrays import Array
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.comparing.matrix import Cell, Matrix, matrix_of
from cryoprobe.pipeline.trials.lines import lines_of
from cryoprobe.stores.store import Store

RIDGE = {"probe": "ridge", "grid": {"alpha": [0.1, 1.0]}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return cryoprobe.open_store(tmp_path / "own", create=True)


def blobs(seed: int, noise: float, *, n: tuple[int, int] = (120, 80), of: int = 0) -> dict[str, Array]:
    """Return embeddings of four classes, around centres that are drawn by `of`."""
    centres, rng = np.random.default_rng(of).normal(size=(4, 12)), np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for split, rows in zip(("train", "test"), n, strict=True):
        y = np.arange(rows) % 4
        found[f"{split}_embeddings"] = (centres[y] + noise * rng.normal(size=(rows, 12))).astype(np.float32)
        found[f"{split}_labels"] = y
    return found


def add(store: Store, folder: Path, model: str, arrays: Mapping[str, Array], dataset: str = "d") -> None:
    np.savez(folder / "added.npz", **arrays)
    named = {"model": model, "dataset": dataset, "model_version": "1"}
    cryoprobe.add(folder / "added.npz", store, **named, progress=False)


def probe(store: Store, model: str, **options: Any) -> cryoprobe.Trial:
    asked = {"probe": "nearest-mean", "dataset": "d", "progress": False, **options}
    return cryoprobe.probe(store, model=model, **asked).trials[0]


def cells(matrix: Matrix) -> dict[str, Cell]:
    return {model: cell for (model, _), cell in matrix.cells.items()}


class TestTrust:
    def pulled(self, store: Store, folder: Path, **changed: Any) -> cryoprobe.Trial:
        """Give the store a trial of m2 with another grid, from a store that is not trusted."""
        other = cryoprobe.open_store(folder / "other", create=True)
        add(other, folder, "m2", blobs(1, 2.0))
        trial = probe(other, "m2", probe="ridge", grid={"alpha": [0.1, 1.0, 10.0]})
        other.record_trial(trial.trial, {**trial.stored, **changed}, replace=True)
        cryoprobe.pull(store, other.url, progress=False)
        return trial

    def test_trials_that_are_not_trusted_are_left_out_beside_own_ones(self, store: Store, tmp_path: Path) -> None:
        for seed, model in enumerate(("m1", "m2")):
            add(store, tmp_path, model, blobs(seed, 2.0))
            probe(store, model, **RIDGE)
        before = cryoprobe.results(store).pivot()
        self.pulled(store, tmp_path, created=4 * 10**12)
        matrix = cryoprobe.results(store).pivot()
        assert {m: c.score for m, c in cells(matrix).items()} == {m: c.score for m, c in cells(before).items()}
        assert any("1 trial from" in note and "not trusted" in note for note in matrix.notes)
        found = cryoprobe.compare(store, "m1", "m2")
        assert found.models == ("m1", "m2")
        assert any("not trusted" in note for note in found.notes)

    def test_the_only_trial_of_a_model_is_marked_where_it_came_from(self, store: Store, tmp_path: Path) -> None:
        add(store, tmp_path, "m1", blobs(0, 2.0))
        probe(store, "m1", **RIDGE)
        self.pulled(store, tmp_path)
        name = f"m2 (from {tmp_path / 'other'}, not trusted)"
        assert cryoprobe.results(store).pivot().models == ("m1", name)
        assert cryoprobe.compare(store, "m1", "m2").models == ("m1", name)

    def test_a_score_that_the_kept_predictions_do_not_give_is_not_the_best(self, store: Store, tmp_path: Path) -> None:
        for seed, model in enumerate(("m1", "m2")):
            add(store, tmp_path, model, blobs(seed, 2.0))
            trial = probe(store, model)
        stored = {**trial.stored, "metrics": {**trial.metrics, "top1": 0.99}}
        store.record_trial(trial.trial, stored, replace=True)
        matrix = cryoprobe.results(store).pivot()
        found = cells(matrix)
        assert (found["m1"].best, found["m2"].best, found["m2"].tied, found["m2"].apart) == (True, False, False, True)
        assert any("states 0.9900, but its kept predictions give" in note for note in matrix.notes)
        assert matrix.mean_ranks == {}
        with pytest.raises(NotFound, match="in doubt"):
            cryoprobe.compare(store, "m1", "m2")

    @pytest.mark.parametrize("metric", ["top1", "mean_per_class_recall"])
    def test_honest_scores_are_not_doubted(self, store: Store, tmp_path: Path, metric: str) -> None:
        uneven = np.sort(np.random.default_rng(0).permutation(120)[:61])
        for seed, model in enumerate(("m1", "m2")):
            arrays = blobs(seed, 2.0, n=(120, 120))
            add(store, tmp_path, model, arrays | {k: v[uneven] for k, v in arrays.items() if k.startswith("test")})
            probe(store, model)
        trials = [t.model_copy(update={"metric": metric}) for t in cryoprobe.results(store)]
        assert not any("doubt" in note for note in matrix_of(store, trials).notes)


class TestSettings:
    def test_other_settings_of_one_seed_are_no_draws(self, store: Store, tmp_path: Path) -> None:
        add(store, tmp_path, "m1", blobs(1, 2.0))
        trials = [probe(store, "m1", **RIDGE, val_split=share) for share in ("0.1", "0.4")]
        (cell,) = cryoprobe.results(store).pivot().cells.values()
        assert (cell.std, len(cell.trials)) == (None, 1)
        chosen = trials[0].model_copy(update={"trial": "f" * 64, "chosen_by": "nll"})
        assert [len(line.trials) for line in lines_of([trials[0], chosen])] == [1, 1]

    def test_of_two_trials_of_one_seed_the_newest_counts(self, store: Store, tmp_path: Path) -> None:
        add(store, tmp_path, "m1", blobs(1, 2.0))
        old = probe(store, "m1")
        new = old.model_copy(update={"trial": "f" * 64, "created": old.created + 1})
        matrix = matrix_of(store, [new, old, new])
        (cell,) = matrix.cells.values()
        assert cell.trials == (new,)
        assert "the newest counts" in matrix.notes[0]

    def test_a_trial_that_comes_twice_is_one(self, store: Store, tmp_path: Path) -> None:
        add(store, tmp_path, "m1", blobs(1, 2.0))
        trial = probe(store, "m1")
        (cell,) = matrix_of(store, [trial, trial]).cells.values()
        assert (cell.trials, cell.std) == ((trial,), None)

    def test_the_setting_that_most_models_have_counts_and_others_stand_apart(
        self, store: Store, tmp_path: Path
    ) -> None:
        for seed, model in enumerate(("m1", "m2", "m3")):
            add(store, tmp_path, model, blobs(seed, 2.0))
        for model in ("m1", "m2"):
            probe(store, model, **RIDGE)
        probe(store, "m1", probe="ridge", grid={"alpha": [1e7, 1e8]})
        probe(store, "m3", probe="ridge", grid={"alpha": [1e7, 1e8, 1e9]})
        matrix = cryoprobe.results(store).pivot()
        found = cells(matrix)
        assert [found[m].trials[0].grid for m in ("m1", "m2")] == [{"alpha": [0.1, 1.0]}] * 2
        assert (found["m3"].apart, found["m3"].best, found["m3"].tied) == (True, False, False)
        assert not matrix.is_marked(found["m1"])
        assert any("m3 not compared with the others, because of another grid" in note for note in matrix.notes)
        assert any(
            "the two differ not only in the model: grid" in n for n in cryoprobe.compare(store, "m1", "m3").notes
        )


class TestRows:
    def test_test_sets_of_other_sizes_are_not_ranked(self, store: Store, tmp_path: Path) -> None:
        small, easy = blobs(1, 2.0), blobs(9, 0.01, n=(60, 60))
        grown = small | {k: np.concatenate([small[k], easy[k]]) for k in ("test_embeddings", "test_labels")}
        add(store, tmp_path, "m1", small)
        add(store, tmp_path, "m2", grown)
        for model in ("m1", "m2"):
            probe(store, model)
        matrix = cryoprobe.results(store).pivot()
        assert cells(matrix)["m2"].score > cells(matrix)["m1"].score
        assert [cell.best for cell in matrix.cells.values()] == [True, True]  # on the 80 rows that both have
        assert any("only the 80 of 140 test rows" in note for note in matrix.notes)
        assert matrix.mean_ranks == {}
        assert any("only the 80 of 140" in note for note in cryoprobe.compare(store, "m1", "m2").notes)

    def test_rows_without_names_of_two_data_sets_are_not_paired(self, store: Store, tmp_path: Path) -> None:
        ids = []
        for of, dataset in enumerate(("cats", "stars")):
            add(store, tmp_path, "m1", blobs(of, 1.0, of=of), dataset)
            ids.append(probe(store, "m1", dataset=dataset).trial)
        with pytest.raises(NotFound, match="share no test sample"):
            cryoprobe.compare(store, *ids)


class TestDraws:
    def filled(self, store: Store, folder: Path, seeds: Mapping[str, int]) -> Matrix:
        for i, (model, draws) in enumerate(seeds.items()):
            add(store, folder, model, blobs(i, 3.0 if model == "worse" else 0.7, n=(200, 400)))
            probe(store, model, shots=[4], seeds=draws)
        return cryoprobe.results(store).pivot()

    def test_single_draws_of_rows_tell_nothing_of_models(self, store: Store, tmp_path: Path) -> None:
        matrix = self.filled(store, tmp_path, {"better": 1, "worse": 1})
        assert [cell.tied for cell in matrix.cells.values()] == [True, True]
        assert any("a single draw" in note and "--seeds 5" in note for note in matrix.notes)

    def test_a_model_with_a_single_draw_leaves_the_others_their_tests(self, store: Store, tmp_path: Path) -> None:
        before = cells(self.filled(store, tmp_path, {"better": 5, "worse": 5}))
        assert (before["better"].tied, before["worse"].tied) == (True, False)
        matrix = self.filled(store, tmp_path, {"better": 5, "worse": 5, "one": 1})
        found = cells(matrix)
        assert (found["better"].tied, found["worse"].tied, found["one"].tied) == (True, False, True)
        assert any("one: a single draw" in note for note in matrix.notes)

    def test_a_model_with_fewer_draws_is_tested_on_these(self, store: Store, tmp_path: Path) -> None:
        matrix = self.filled(store, tmp_path, {"better": 5, "other": 5, "worse": 3})
        assert not cells(matrix)["worse"].tied
        assert any("worse is tested in the draws that it has, seeds 0, 1, 2" in note for note in matrix.notes)


def test_a_trial_is_not_compared_with_itself(store: Store, tmp_path: Path) -> None:
    add(store, tmp_path, "m1", blobs(1, 2.0))
    trial = probe(store, "m1")
    with pytest.raises(BadInput, match="cannot be compared with itself"):
        cryoprobe.compare(store, trial.trial, trial.train or "")


def test_flags_without_scores_are_compared_by_intervals(store: Store, tmp_path: Path) -> None:
    from support.data import put_set

    for model in ("timm:a", "timm:b"):
        for split, n in (("train", 80), ("test", 90)):
            rng = np.random.default_rng([n, len(model), ord(model[-1])])
            y = (np.random.default_rng(n).random((n, 3)) < 0.4).astype(np.uint8)
            x = np.hstack([y, y, y]) + rng.normal(size=(n, 9))
            ids = [bytes([i]) * 32 for i in range(n)]
            named = {"encoder": model, "model": model, "ids": ids, "dataset": "folder:/f"}
            put_set(store, x.astype(np.float32), y, classes=("a", "b", "c"), split=split, **named)
        trial = probe(store, model, probe="logreg", C=1.0, dataset="folder:/f")
    kept = store.predictions(trial.stored, rows=90, classes=3, multilabel=True)
    assert kept is not None
    bare = type(kept)(**{**vars(kept), "arrays": {k: v for k, v in kept.arrays.items() if k != "scores"}})
    record = store.keep_predictions(trial.trial, bare)
    store.record_trial(trial.trial, {**trial.stored, "predictions": record}, replace=True)
    found = cryoprobe.compare(store, "timm:a", "timm:b")
    assert found.pair.test == "intervals"
    assert any("does not tell their map" in note for note in found.notes)
