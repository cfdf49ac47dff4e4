"""What a probe said of each test row is kept with its trial, and the mistakes are read from there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.data import put_set
from support.store_data import flip, keys

import cryoprobe
from cryoprobe import parallel
from cryoprobe.errors import BadInput, Conflict, Corrupt, NotFound
from cryoprobe.stores.backends.memory import MemoryBackend
from cryoprobe.stores.format.marker import write_marker
from cryoprobe.stores.keeping import verify as verification
from cryoprobe.stores.store import Store

CLASSES = ("ant", "bee", "cat")


def rows(n: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return (1.5 * np.eye(3, 8)[y] + rng.normal(size=(n, 8))).astype(np.float32), y


def fill(store: Store, *, splits: tuple[str, ...] = ("train", "test")) -> None:
    for seed, split in enumerate(splits):
        x, y = rows(90, seed)
        found = put_set(store, x, y, classes=CLASSES, split=split)
        store.name_samples(found, [f"{split}/{CLASSES[c]}/{i}.png" for i, c in enumerate(y)])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = cryoprobe.open_store(tmp_path / "store", create=True)
    fill(opened)
    return opened


def probe(store: Store, **options: Any) -> cryoprobe.Sweep:
    asked = {"model": "timm:m", "dataset": "folder:/d", "C": 1.0, "progress": False, **options}
    return cryoprobe.probe(store, **asked)


class TestSingleLabel:
    def test_they_are_those_that_scikit_learn_gets_wrong(self, store: Store) -> None:
        trial = probe(store).trial
        train, test = store.open(str(trial.train)), store.open(str(trial.test))
        (x, y), (tx, ty) = train.load(), test.load()
        theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(x, y)
        p = theirs.predict_proba(tx)
        predicted = p.argmax(axis=1)
        wrong = np.flatnonzero(predicted != ty)
        wrong = wrong[np.argsort(-p[wrong, predicted[wrong]])]
        found = cryoprobe.mistakes(store, trial.trial[:10])
        assert [m.row for m in found] == wrong.tolist()
        assert (found.wrong, found.of, found.measure, found.set) == (len(wrong), 90, "probability", test.id)
        assert found.wrong == round((1 - trial.metrics["top1"]) * 90)
        for m in found:
            assert (m.true, m.predicted) == (CLASSES[ty[m.row]], CLASSES[predicted[m.row]])
            assert m.value == pytest.approx(p[m.row, predicted[m.row]], abs=1e-3)
            assert m.true_value == pytest.approx(p[m.row, ty[m.row]], abs=1e-3)
            assert m.name == f"test/{m.true}/{m.row}.png"

    def test_top_and_class(self, store: Store) -> None:
        trial = probe(store).trial.trial
        every = cryoprobe.mistakes(store, trial)
        assert [m.row for m in cryoprobe.mistakes(store, trial, top=3)] == [m.row for m in every[:3]]
        assert cryoprobe.mistakes(store, trial, top=3).wrong == every.wrong
        bees = cryoprobe.mistakes(store, trial, class_name="bee")
        assert [m.row for m in bees] == [m.row for m in every if m.true == "bee"]
        assert bees.of == sum(s.label == "bee" for s in store.open(bees.set).samples())
        with pytest.raises(BadInput, match="no class 'wasp'"):
            cryoprobe.mistakes(store, trial, class_name="wasp")

    def test_rows_held_out_of_train_are_named_by_its_rows(self, tmp_path: Path) -> None:
        opened = cryoprobe.open_store(tmp_path / "one", create=True)
        fill(opened, splits=("train",))
        trial = probe(opened, test_split=0.3).trial
        found = cryoprobe.mistakes(opened, trial.trial)
        assert found.set == trial.train
        samples = opened.open(found.set).samples()
        assert len(found)
        for m in found:
            assert (samples[m.row].name, samples[m.row].label) == (m.name, m.true)

    @pytest.mark.parametrize("name", ["knn", "ridge", "lda", "mlp", "sklearn.svm.LinearSVC"])
    def test_every_probe_tells(self, store: Store, name: str) -> None:
        params = {"k": 5} if name == "knn" else {}
        trial = probe(store, probe=name, C=(), params=params).trial
        found = cryoprobe.mistakes(store, trial.trial)
        assert found.wrong == round((1 - trial.metrics["top1"]) * 90)
        values = [m.value for m in found]
        assert values == sorted(values, reverse=True)
        assert found.measure == ("score" if name in ("ridge", "sklearn.svm.LinearSVC") else "probability")

    @pytest.mark.parametrize("protocol", ["clip", "dinov2-linear", "dinov2-knn", "vtab-1k", "mieb"])
    def test_protocols_tell(self, store: Store, protocol: str) -> None:
        seeds = {"seeds": 1} if protocol == "mieb" else {}
        trial = probe(store, protocol=protocol, C=(), **seeds).trials[0]
        found = cryoprobe.mistakes(store, trial.trial)
        assert found.wrong == round((1 - trial.metrics["top1"]) * 90)

    def test_trials_of_other_processes_tell(self, store: Store) -> None:
        trials = probe(store, shots=[1, 2], seeds=2, jobs=2).trials
        for trial in trials:
            assert cryoprobe.mistakes(store, trial.trial).wrong == round((1 - trial.metrics["top1"]) * 90)

    def test_a_table_and_json(self, store: Store) -> None:
        found = cryoprobe.mistakes(store, probe(store).trial.trial)
        assert json.loads(json.dumps(found.document))["mistakes"][0]["row"] == found[0].row
        assert len(found.to_pandas()) == len(found)
        assert "<table>" in found._repr_html_()


class TestFlags:
    def test_rows_with_a_wrong_flag(self, tmp_path: Path) -> None:
        store = cryoprobe.open_store(tmp_path / "flags", create=True)
        classes = [f"c{i}" for i in range(9)]
        planes = np.random.default_rng(5).normal(size=(12, 9))
        for seed, split in enumerate(("train", "test")):
            rng = np.random.default_rng(seed)
            x = rng.normal(size=(200, 12)).astype(np.float32)
            put_set(
                store, x, (x @ planes + rng.normal(size=(200, 9)) > 1).astype(np.uint8), classes=classes, split=split
            )
        trial = probe(store).trial
        found = cryoprobe.mistakes(store, trial.trial)
        assert found.wrong == round((1 - trial.metrics["subset_accuracy"]) * 200)
        truth = store.open(found.set).samples()
        for m in found:
            assert m.true == truth[m.row].label_text != m.predicted
        values = [abs(m.value) for m in found if m.value is not None]
        assert values == sorted(values, reverse=True)
        assert found.measure == "score"
        assert all("c3" in m.true.split("|") for m in cryoprobe.mistakes(store, trial.trial, class_name="c3"))


class TestKeeping:
    def test_a_trial_of_an_older_version_says_how_to_get_them(self, store: Store) -> None:
        trial = probe(store).trial
        older = {k: v for k, v in trial.stored.items() if k != "predictions"}
        store.record_trial(trial.trial, older, replace=True)
        again = probe(store)
        assert again.cached == 1
        with pytest.raises(NotFound, match="--rerun"):
            cryoprobe.mistakes(store, trial.trial)
        probe(store, rerun=True)
        assert cryoprobe.mistakes(store, trial.trial).of == 90

    def test_damage_is_found(self, store: Store) -> None:
        trial = probe(store).trial.trial
        (key,) = keys(store.backend, "predictions/")
        whole = store.backend.get(key)
        store.backend.put(key, flip(whole, 8 * len(whole) - 20))
        with pytest.raises(Corrupt, match=key):
            cryoprobe.mistakes(store, trial)
        (damage,) = cryoprobe.verify(store, data=True, progress=False).damages
        assert damage.key == key
        (left,) = cryoprobe.repair(store, progress=False)
        assert (left.action, "--rerun" in left.how) == ("not repaired", True)
        probe(store, rerun=True)
        assert cryoprobe.mistakes(store, trial).of == 90
        assert not cryoprobe.verify(store, data=True, progress=False).damages

    def test_a_trial_that_is_removed_while_it_is_verified_is_no_damage(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trial = probe(store).trial.trial
        drawn = verification._drawn

        def removed(*arguments: Any) -> Any:
            cryoprobe.rm(store, [trial])
            return drawn(*arguments)

        monkeypatch.setattr(verification, "_drawn", removed)
        assert not cryoprobe.verify(store, data=True, progress=False).damages

    @pytest.mark.parametrize("data", [False, True])
    def test_what_is_lost_or_cut_is_named_and_run_again(self, store: Store, data: bool) -> None:
        trial = probe(store).trial.trial
        (key,) = keys(store.backend, "predictions/")
        whole = store.backend.get(key)
        assert not cryoprobe.verify(store, data=data, progress=False).damages
        store.backend.put(key, whole[:-1])
        (cut,) = cryoprobe.verify(store, data=data, progress=False).damages
        assert (cut.key, cut.owner, cut.problem) == (key, trial, "wrong size")
        store.backend.delete(key)
        (lost,) = cryoprobe.verify(store, data=data, progress=False).damages
        assert (lost.key, lost.owner, lost.problem) == (key, trial, "missing")
        assert lost.seal == f"trials/{trial}.json"
        (repair,) = cryoprobe.repair(store, progress=False)
        assert store.trial(trial) is not None
        assert repair.action == "not repaired"
        assert "--rerun" in repair.how
        with pytest.raises(NotFound, match="is lost") as raised:
            cryoprobe.mistakes(store, trial)
        assert "--rerun" in str(raised.value.hint)
        assert probe(store).cached == 1
        probe(store, rerun=True)
        assert store.backend.get(key) == whole
        assert not cryoprobe.verify(store, data=data, progress=False).damages

    def test_a_trial_that_is_removed_meanwhile_is_no_damage(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trial = probe(store).trial.trial
        listing = type(store.backend).list

        def late(backend: Any, prefix: str = "") -> Any:
            if prefix == "predictions/":
                monkeypatch.undo()
                cryoprobe.rm(store, [trial], progress=False)
            return listing(backend, prefix)

        monkeypatch.setattr(type(store.backend), "list", late)
        assert not cryoprobe.verify(store, progress=False).damages
        assert not keys(store.backend, "trials/")

    @pytest.mark.parametrize("way", ["push", "pull", "sync", "repair"])
    def test_what_the_target_has_lost_travels_again(self, store: Store, tmp_path: Path, way: str) -> None:
        trial = probe(store).trial.trial
        probe(store, C=0.01)
        team = cryoprobe.open_store(tmp_path / "team", create=True)
        assert cryoprobe.push(store, team, progress=False).predictions == 0
        (key,) = (k for k in keys(team.backend, "predictions/") if trial in k)
        whole = team.backend.get(key)
        team.backend.delete(key)
        team.backend.put(f"predictions/{trial}/{'1' * 64}.safetensors", b"x")
        assert cryoprobe.push(store, team, dry_run=True, progress=False).predictions == 1
        if way == "push":
            moved = cryoprobe.push(store, team, progress=False)
        elif way == "pull":
            moved = cryoprobe.pull(team, store, progress=False)
        elif way == "sync":
            moved, _ = cryoprobe.sync(store, team, progress=False)
        else:
            (repaired,) = cryoprobe.repair(team, source=store.url, progress=False)
            assert (repaired.key, repaired.action) == (key, "restored")
        if way != "repair":
            assert (moved.trials, moved.predictions) == (0, 1)
        assert team.backend.get(key) == whole
        assert not cryoprobe.verify(team, data=True, progress=False).damages
        assert cryoprobe.push(store, team, progress=False).predictions == 0

    def test_predictions_that_the_target_s_trial_does_not_name_stay(self, store: Store, tmp_path: Path) -> None:
        trial = probe(store).trial
        team = cryoprobe.open_store(tmp_path / "team", create=True)
        cryoprobe.push(store, team, progress=False)
        (key,) = keys(team.backend, "predictions/")
        team.backend.delete(key)
        other = {**trial.stored, "predictions": {"sha256": "1" * 64, "size": 1}}
        team.record_trial(trial.trial, other, replace=True)
        assert cryoprobe.push(store, team, progress=False).predictions == 0
        assert not keys(team.backend, "predictions/")

    def test_large_ones_are_read_one_at_a_time(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        trials = probe(store, C=0.1, shots=[1, 2], seeds=3).trials
        assert len(trials) == 6
        lock, now, most = threading.Lock(), [0], [0]
        get = type(store.backend).get

        def slow(backend: Any, key: str, *limit: Any) -> bytes:
            if not key.startswith("predictions/"):
                return bytes(get(backend, key, *limit))
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            try:
                return bytes(get(backend, key, *limit))
            finally:
                with lock:
                    now[0] -= 1

        monkeypatch.setattr(type(store.backend), "get", slow)
        for in_flight, together in ((2**28, True), (1000, False)):
            monkeypatch.setattr(parallel, "_IN_FLIGHT", in_flight)
            backend = MemoryBackend()
            write_marker(backend)
            pushed = partial(cryoprobe.push, store, Store(backend), progress=False)
            for act in (pushed, partial(cryoprobe.verify, store, data=True, progress=False)):
                most[0] = 0
                act()
                assert most[0] >= 1
                assert (most[0] > 1) == together

    @pytest.mark.parametrize("change", ["classes", "rows", "dtype", "lacks", "text"])
    def test_what_a_stranger_made_up_is_refused(self, store: Store, change: str) -> None:
        import hashlib

        from safetensors.numpy import load, save

        trial = probe(store).trial
        (key,) = keys(store.backend, "predictions/")
        arrays = load(store.backend.get(key))
        if change == "classes":
            arrays["predicted"] = arrays["predicted"] + 7
        elif change == "rows":
            arrays = {name: array[:50] for name, array in arrays.items()}
        elif change == "dtype":
            arrays["true"] = arrays["true"].astype(np.int64)
        elif change == "lacks":
            del arrays["value"]
        data = b"no tensors" if change == "text" else save(arrays, metadata={"measure": "probability"})
        record = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        store.backend.put(f"predictions/{trial.trial}/{record['sha256']}.safetensors", data)
        store.record_trial(trial.trial, {**trial.stored, "predictions": record}, replace=True)
        with pytest.raises(Corrupt, match="are damaged"):
            cryoprobe.mistakes(store, trial.trial)

    def test_they_travel_with_the_trial_and_not_without_it(self, store: Store) -> None:
        trial = probe(store).trial.trial
        for with_trials in (False, True):
            backend = MemoryBackend()
            write_marker(backend)
            cryoprobe.push(store, Store(backend), trials=with_trials, progress=False)
            assert len(keys(backend, "predictions/")) == with_trials
        there = cryoprobe.mistakes(Store(backend), trial)
        assert [m for m in there] == [m for m in cryoprobe.mistakes(store, trial)]

    def test_gc_collects_what_no_trial_names(self, store: Store) -> None:
        trial = probe(store).trial.trial
        (key,) = keys(store.backend, "predictions/")
        orphan = f"predictions/{'0' * 64}/{'1' * 64}.safetensors"
        store.backend.put(orphan, b"x")
        store.backend.put(f"predictions/{trial}/{'1' * 64}.safetensors", b"x")
        cryoprobe.gc(store, delete=True, grace=3600, progress=False)
        assert len(keys(store.backend, "predictions/")) == 3
        cryoprobe.gc(store, delete=True, grace=0, progress=False)
        assert keys(store.backend, "predictions/") == [key]


class TestRemovingAndShowing:
    def test_a_trial_goes_with_its_predictions_and_runs_again(self, store: Store) -> None:
        trial = probe(store).trial.trial
        (removed,) = cryoprobe.rm(store, [trial[:12]], progress=False)
        assert removed == cryoprobe.RemovedTrial(trial=trial)
        assert keys(store.backend, "trials/") == keys(store.backend, "predictions/") == []
        assert len(store.set_ids()) == 2
        assert probe(store).cached == 0

    def test_sets_and_trials_together_or_none_of_them(self, store: Store) -> None:
        trial = probe(store).trial
        with pytest.raises(NotFound):
            cryoprobe.rm(store, [trial.trial, "feedfeedfeed"], progress=False)
        assert len(keys(store.backend, "trials/")) == 1
        cryoprobe.rm(store, [trial.trial, str(trial.test)], progress=False)
        assert keys(store.backend, "trials/") == []
        assert list(store.set_ids()) == [trial.train]

    def test_digits_of_both_or_of_several_are_refused(self, store: Store) -> None:
        trial = probe(store).trial
        for other in (str(trial.train)[:8] + "0" * 56, trial.trial[:8] + "0" * 56):
            store.record_trial(other, {"trial": other})
        with pytest.raises(Conflict, match=f"set {str(trial.train)[:16]}, trial {str(trial.train)[:8]}00000000"):
            cryoprobe.rm(store, [str(trial.train)[:6]], progress=False)
        with pytest.raises(BadInput, match="begins 2 trial ids"):
            cryoprobe.trial(store, trial.trial[:6])
        assert cryoprobe.trial(store, trial.trial[:12]) == trial
        with pytest.raises(NotFound, match="no trial"):
            cryoprobe.trial(store, "")


def test_neither_torch_nor_scikit_learn_is_imported(store: Store) -> None:
    trial = probe(store).trial.trial
    code = (
        "import sys; from cryoprobe import cli; sys.argv[1:] = ['mistakes', sys.argv[1], '--store', sys.argv[2]]\n"
        "try: cli.main()\n"
        "except SystemExit as e: assert not e.code\n"
        "assert not {'torch', 'sklearn', 'PIL', 'zarr'} & sys.modules.keys(), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code, trial, store.url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "test rows of set" in done.stdout
