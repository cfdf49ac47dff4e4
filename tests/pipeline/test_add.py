"""Embeddings from elsewhere become sets that are probed by name; whatever cannot be stored is refused and named."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support.cli import run

import cryoprobe
from cryoprobe.canonical import canonical_json
from cryoprobe.errors import BadInput, Conflict, NotFound
from cryoprobe.stores.store import Store

CLASSES = ("ant", "bee", "cat")
SPLITS = {"train": 60, "test": 30}
NAMES = ["--model", "mine", "--dataset", "bugs"]


def data(n: int = 60, seed: int = 0, dtype: str = "float32") -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    return (10 * (2 * np.eye(3, 8)[y] + rng.normal(size=(n, 8)))).astype(dtype), y


def add(folder: Path, *files: Path, **options: Any) -> list[cryoprobe.AddedSet]:
    asked = {"model": "mine", "dataset": "bugs", "progress": False, **options}
    return cryoprobe.add(files, folder / "store", **asked)


def opened(folder: Path) -> Store:
    return cryoprobe.open_store(folder / "store")


def npz(file: Path, **arrays: Any) -> Path:
    np.savez(file, **arrays)
    return file


class TestNpz:
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_what_is_read_back_is_what_was_in_the_file(self, tmp_path: Path, dtype: str) -> None:
        x, y = data(dtype=dtype)
        (added,) = add(tmp_path, npz(tmp_path / "train.npz", embeddings=x, labels=y), stored_dtype="float32")
        assert (added.split, added.rows, added.dim, added.classes, added.new) == ("train", 60, 8, 3, 60)
        found = opened(tmp_path).open(added.set)
        raw, labels = found.load(raw=True)
        np.testing.assert_allclose(raw, x.astype(np.float64), rtol=1e-6, atol=1e-5)
        np.testing.assert_array_equal(labels, y)
        assert found.classes == ("0", "1", "2")
        head = canonical_json({"dtype": dtype, "shape": [8]}) + b"\n"
        assert found.sample_ids()[7].tobytes() == hashlib.sha256(head + x[7].tobytes()).digest()
        assert [s.name for s in found.samples()][:2] == ["row 0", "row 1"]
        assert cryoprobe.verify(opened(tmp_path), data=True, progress=False).damages == ()

    def test_a_probe_by_name_scores_as_scikit_learn_on_the_file(self, tmp_path: Path) -> None:
        (x, y), (tx, ty) = data(200, 0), data(80, 1)
        file = npz(tmp_path / "both.npz", train_embeddings=x, train_labels=y, test_embeddings=tx, test_labels=ty)
        assert [a.split for a in add(tmp_path, file)] == ["train", "test"]
        trial = cryoprobe.probe(opened(tmp_path), model="mine", dataset="bugs", C=1.0, progress=False).trial
        unit, test_unit = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (x, tx))
        theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(unit, y)
        assert trial.metrics["top1"] == pytest.approx(theirs.score(test_unit, ty), abs=0.013)
        assert len(cryoprobe.mistakes(opened(tmp_path), trial.trial)) == round(80 * (1 - trial.metrics["top1"]))

    def test_classes_and_names_and_ids(self, tmp_path: Path) -> None:
        x, y = data()
        ids = [hashlib.sha256(bytes([i])).hexdigest() for i in range(60)]
        names = [f"{i}.png" for i in range(60)]
        file = npz(tmp_path / "a.npz", embeddings=x, labels=y, classes=CLASSES, samples=ids, names=names)
        (added,) = add(tmp_path, file)
        samples = opened(tmp_path).open(added.set).samples()
        assert [s.id for s in samples] == ids
        assert [s.name for s in samples] == names
        assert [s.label for s in samples] == [CLASSES[i] for i in y]
        assert added.split == "all"

    def test_samples_that_are_no_hashes_are_names(self, tmp_path: Path) -> None:
        x, _ = data(2)
        (added,) = add(tmp_path, npz(tmp_path / "a.npz", embeddings=x, labels=["a", "b"], samples=["x/1", "x/2"]))
        assert [s.name for s in opened(tmp_path).open(added.set).samples()] == ["x/1", "x/2"]

    def test_one_hot_flags_are_classes_and_others_are_flags(self, tmp_path: Path) -> None:
        x, y = data()
        (one,) = add(tmp_path, npz(tmp_path / "a.npz", embeddings=x, labels=np.eye(3, dtype=int)[y]))
        np.testing.assert_array_equal(opened(tmp_path).open(one.set).labels(), y)
        flags = np.random.default_rng(0).integers(0, 2, (60, 4))
        (several,) = add(tmp_path, npz(tmp_path / "b.npz", embeddings=x, labels=flags), model="other")
        np.testing.assert_array_equal(opened(tmp_path).open(several.set).labels(), flags)

    def test_repeated_rows_are_said_and_truths_are_classes(self, tmp_path: Path) -> None:
        x, y = data(6)
        x[5] = x[4]
        notes: list[str] = []

        class Notes(cryoprobe.Reporter):
            def note(self, message: str) -> None:
                notes.append(message)

        (added,) = add(tmp_path, npz(tmp_path / "a.npz", embeddings=x, labels=y > 0), reporter=Notes())
        assert notes == ["1 of 6 rows of all repeat the sample of another row"]
        assert opened(tmp_path).open(added.set).labels().tolist() == (y > 0).astype(int).tolist()


class TestFormats:
    @pytest.mark.parametrize("form", ["npz", "safetensors", "parquet"])
    @pytest.mark.parametrize("raw", [True, False])
    def test_what_export_writes_comes_back(self, tmp_path: Path, form: str, raw: bool) -> None:
        if form == "parquet":
            pytest.importorskip("pyarrow")
        x, y = data()
        names = [f"{i}/ключ.png" for i in range(60)]
        file = npz(tmp_path / "train.npz", embeddings=x, labels=y, classes=CLASSES, names=names)
        (first,) = add(tmp_path, file)
        out = tmp_path / f"out-train.{form}"
        cryoprobe.export_set(opened(tmp_path), first.set, out, raw=raw, progress=False)
        (again,) = cryoprobe.add(out, tmp_path / "other", model="mine", dataset="bugs", progress=False)
        one, two = opened(tmp_path).open(first.set), cryoprobe.open_store(tmp_path / "other").open(again.set)
        assert list(one.samples()) == list(two.samples())
        np.testing.assert_allclose(one.load(raw=True)[0], two.load(raw=True)[0], rtol=2e-3, atol=2e-2)
        np.testing.assert_allclose(one.norms(), two.norms(), rtol=1e-3)
        assert (again.split, one.dataset_id) == ("train", two.dataset_id)

    @pytest.mark.parametrize("ending", ["npy", "csv", "txt", "headless.csv"])
    def test_npy_with_labels_beside(self, tmp_path: Path, ending: str) -> None:
        x, y = data()
        np.save(tmp_path / "x.npy", x)
        labels = tmp_path / f"labels.{ending}"
        if ending == "npy":
            np.save(labels, y)
        elif ending == "csv":
            labels.write_text("name,label\n" + "".join(f"i{i}.png,{c}\n" for i, c in enumerate(y)))
        else:
            labels.write_text("".join(f"{c}\n" for c in y))
        (added,) = add(tmp_path, tmp_path / "x.npy", labels=labels)
        found = opened(tmp_path).open(added.set)
        np.testing.assert_array_equal(found.labels(), y)
        assert found.samples()[3].name == ("i3.png" if ending == "csv" else "row 3")

    def test_parquet_with_numbered_columns_and_splits(self, tmp_path: Path) -> None:
        pa = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        x, y = data(40)
        splits = ["train"] * 30 + ["test"] * 10
        columns = {f"e{i}": x[:, i] for i in reversed(range(8))}
        parquet.write_table(
            pa.table({**columns, "label": [CLASSES[i] for i in y], "split": splits}), tmp_path / "a.parquet"
        )
        added = add(tmp_path, tmp_path / "a.parquet")
        assert [(a.split, a.rows) for a in added] == [("train", 30), ("test", 10)]
        np.testing.assert_allclose(opened(tmp_path).open(added[1].set).load(raw=True)[0], x[30:], rtol=2e-3, atol=2e-2)


class TestIdentity:
    def test_the_id_of_an_encoder_never_changes(self, tmp_path: Path) -> None:
        x, y = data(4)
        file = npz(tmp_path / "a.npz", embeddings=x, labels=y)
        ids = {}
        for version in ("1", None):
            (added,) = add(tmp_path / str(version), file, model_version=version)
            found = opened(tmp_path / str(version)).open(added.set)
            ids[version] = found.encoder_id
            declared = {"version": "1"} if version else {"files": [hashlib.sha256(file.read_bytes()).hexdigest()]}
            assert found.manifest.encoder == {
                "architecture": "mine",
                "family": "added",
                "preprocessing": {"library": "added"},
                "tap": "given",
                "weights": hashlib.sha256(canonical_json(declared)).hexdigest(),
            }
        assert ids["1"] == "db1bd947074234c22652b63232dfaa63cb43cbea5f679fcd4caddc37aedbb02f"

    def test_the_same_call_again_writes_nothing(self, tmp_path: Path) -> None:
        x, y = data()
        file = npz(tmp_path / "train.npz", embeddings=x, labels=y)
        (one,), before = add(tmp_path, file), sorted((tmp_path / "store").rglob("*.gz"))
        (two,) = add(tmp_path, file)
        assert (two.set, two.new) == (one.set, 0)
        assert sorted((tmp_path / "store").rglob("*.gz")) == before

    def test_files_of_one_call_are_one_encoder_and_those_of_two_are_refused(self, tmp_path: Path) -> None:
        train, test = (
            npz(tmp_path / f"{s}.npz", embeddings=x, labels=y)
            for s, (x, y) in (("train", data()), ("test", data(30, 1)))
        )
        add(tmp_path, train)
        with pytest.raises(Conflict, match="--model-version"):
            add(tmp_path, test)
        assert len(opened(tmp_path).set_ids()) == 1
        one, two = cryoprobe.add([test, train], tmp_path / "b", model="mine", dataset="bugs", progress=False)
        store = cryoprobe.open_store(tmp_path / "b")
        assert store.open(one.set).encoder_id == store.open(two.set).encoder_id
        assert (one.split, two.split) == ("test", "train")

    def test_a_version_joins_files_of_two_calls(self, tmp_path: Path) -> None:
        for split, (x, y) in (("train", data()), ("test", data(30, 1))):
            add(tmp_path, npz(tmp_path / f"{split}.npz", embeddings=x, labels=y), model_version="7")
        store = opened(tmp_path)
        assert len({store.open(s).encoder_id for s in store.set_ids()}) == 1
        assert cryoprobe.probe(store, model="mine", dataset="bugs", C=1.0, progress=False).trial.rows.test == 30

    def test_a_version_is_listed_and_chooses(self, tmp_path: Path) -> None:
        files = [npz(tmp_path / f"{s}.npz", embeddings=data(n)[0], labels=data(n)[1]) for s, n in SPLITS.items()]
        old = {s.split: s.set for s in add(tmp_path, *files)}
        (grown,) = add(tmp_path, files[0], model_version="1")
        store = ["--store", str(tmp_path / "store")]
        listed = {line.split()[0]: line for line in run("ls", *store).stdout.splitlines()[1:]}
        assert listed[grown.set[:12]].endswith("--model-version 1")
        assert "--model-version" not in listed[old["train"][:12]]
        names = json.loads(run("ls", *store, "--json").stdout)
        assert {n["set"]: n["name"]["model_version"] for n in names} == {grown.set: "1", **dict.fromkeys(old.values())}
        for options, code in (([], 7), (["--model-version", "1"], 3)):
            refused = run("probe", *NAMES, *store, *options, code=code).stderr
            again = next(line for line in refused.splitlines() if "cryoprobe add" in line)
            assert again.endswith("--split test --model-version 1")
        (test,) = add(tmp_path, files[1], split="test", model_version="1")
        found = cryoprobe.probe(opened(tmp_path), model="mine", dataset="bugs", model_version="1", C=1.0)
        assert (found["train"], found["test"]) == (grown.set, test.set)
        assert "--model-version 1" in run("results", *store).stdout

    def test_another_version_is_another_encoder(self, tmp_path: Path) -> None:
        x, y = data()
        sets = [add(tmp_path, npz(tmp_path / "a.npz", embeddings=x, labels=y), model_version=v)[0] for v in "12"]
        store = opened(tmp_path)
        one, two = (store.open(s.set) for s in sets)
        assert one.encoder_id != two.encoder_id
        assert one.dataset_id == two.dataset_id
        assert sets[1].new == 60

    def test_a_row_of_one_version_never_changes(self, tmp_path: Path) -> None:
        x, y = data()
        ids = np.random.default_rng(0).integers(0, 256, (60, 32), dtype=np.uint8)
        add(tmp_path, npz(tmp_path / "a.npz", embeddings=x, labels=y, samples=ids), model_version="1")
        x[5] *= -1
        with pytest.raises(Conflict, match="row 5 is in the store with another embedding"):
            add(tmp_path, npz(tmp_path / "b.npz", embeddings=x, labels=y, samples=ids), model_version="1")


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"labels": np.zeros(59, int)}, "60 embeddings and 59 labels"),
            ({"labels": np.full(60, 0.5)}, "float64"),
            ({"embeddings": np.zeros((60, 8), int)}, r"int64 \[60, 8\]"),
            ({"embeddings": np.zeros(60)}, r"float64 \[60\]"),
            ({"embeddings": np.zeros((0, 8), np.float32)}, "has no rows"),
            ({"names": ["a"] * 59}, "59 names"),
            ({"samples": np.zeros((60, 16), np.uint8)}, r"samples are uint8 \[60, 16\]"),
            ({"samples": np.zeros((60, 32), np.uint8)}, "rows 0 and 1 have one sample id and different embeddings"),
            ({"norms": np.full(60, 3.0)}, "has norms, but"),
            ({"norms": np.full(60, 1e-50)}, "norms are not positive numbers of float32"),
            ({"classes": ["a", "b"]}, "do not fit the class names"),
        ],
    )
    def test_arrays_that_do_not_fit(self, tmp_path: Path, change: dict[str, Any], message: str) -> None:
        x, y = data()
        with pytest.raises(BadInput, match=message):
            add(tmp_path, npz(tmp_path / "a.npz", **{"embeddings": x, "labels": y, **change}))
        assert not (tmp_path / "store" / "manifests").exists()

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (np.nan, "is not finite"),
            (np.inf, "is not finite"),
            (0, "is zero"),
            (1e-50, "is too small"),
            (1e-41, "is too small"),
            (1e50, "is too large"),
        ],
    )
    def test_a_row_is_named(self, tmp_path: Path, value: float, message: str) -> None:
        x, y = data(dtype="float64")
        x[[17, 40]] = value
        names = [f"{i}.png" for i in range(60)]
        with pytest.raises(BadInput, match=rf"row 17 \(17.png\) {message}.*1 other"):
            add(tmp_path, npz(tmp_path / "a.npz", embeddings=x, labels=y, names=names))

    def test_files(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match=r"no file .*a\.npz"):
            add(tmp_path, tmp_path / "a.npz")
        (tmp_path / "a.npz").write_bytes(b"PK nonsense")
        with pytest.raises(BadInput, match="cannot be read"):
            add(tmp_path, tmp_path / "a.npz")
        np.savez(tmp_path / "b.npz", embeddings=np.array([{}], dtype=object), labels=[0])
        with pytest.raises(BadInput, match="cannot be read"):
            add(tmp_path, tmp_path / "b.npz")
        with pytest.raises(BadInput, match=r"no array embeddings; it has x"):
            add(tmp_path, npz(tmp_path / "c.npz", x=np.ones(3)))
        (tmp_path / "d.csv").write_text("1")
        with pytest.raises(BadInput, match="does not end with"):
            add(tmp_path, tmp_path / "d.csv")

    def test_names_that_extract_would_give(self, tmp_path: Path) -> None:
        x, y = data()
        file = npz(tmp_path / "a.npz", embeddings=x, labels=y)
        with pytest.raises(BadInput, match="timm encoder"):
            add(tmp_path, file, model="timm:vit")
        with pytest.raises(BadInput, match="folder data set"):
            add(tmp_path, file, dataset="folder:/d")

    def test_files_of_one_call_that_contradict_each_other(self, tmp_path: Path) -> None:
        (x, y), ids = data(), np.random.default_rng(0).integers(0, 256, (60, 32), dtype=np.uint8)
        other, train = x.copy(), npz(tmp_path / "train.npz", embeddings=x, labels=y, samples=ids)
        other[5] *= -1
        order = np.random.default_rng(1).permutation(60)
        row = int(np.flatnonzero(order == 5)[0])
        test = npz(tmp_path / "test.npz", embeddings=other[order], labels=y[order], samples=ids[order])
        with pytest.raises(
            BadInput, match=rf"test.npz: row {row} of test and row 5 of .*train.npz .*{ids[5].tobytes().hex()[:12]}"
        ):
            add(tmp_path, train, test, model_version="1")
        assert not (tmp_path / "store").exists()
        wider = npz(tmp_path / "wider.npz", embeddings=np.hstack([x, x]), labels=y)
        with pytest.raises(BadInput, match=r"wider.npz are 16 wide, those of .*train.npz 8"):
            add(tmp_path, train, wider, model_version="1", split=["train", "test"])
        assert not (tmp_path / "store").exists()

    def test_samples_that_two_files_of_one_call_share(self, tmp_path: Path) -> None:
        (x, y), ids = data(), np.random.default_rng(0).integers(0, 256, (60, 32), dtype=np.uint8)
        train = npz(tmp_path / "train.npz", embeddings=x, labels=y, samples=ids)
        test = npz(tmp_path / "test.npz", embeddings=x[9:30].astype("float64"), labels=y[9:30], samples=ids[9:30])
        one, two = add(tmp_path, train, test)
        assert (one.new, two.new) == (60, 0)
        found = opened(tmp_path).open(two.set).load(raw=True)[0]
        np.testing.assert_allclose(found, x[9:30], atol=0.1)

    def test_which_split_is_which(self, tmp_path: Path) -> None:
        files = []
        for i in range(2):
            x, y = data(seed=i)
            files.append(npz(tmp_path / f"part{i}.npz", embeddings=x, labels=y))
        with pytest.raises(BadInput, match="which split"):
            add(tmp_path, *files)
        assert [a.split for a in add(tmp_path, *files, split=["train", "test"])] == ["train", "test"]


def test_on_the_command_line(tmp_path: Path) -> None:
    """The six lines of the README."""
    (x, y), (tx, ty) = data(200, 0), data(80, 1)
    names = [f"test/{i}.png" for i in range(80)]
    npz(tmp_path / "train.npz", embeddings=x, labels=[CLASSES[i] for i in y])
    npz(tmp_path / "test.npz", embeddings=tx, labels=[CLASSES[i] for i in ty], names=names)
    store = ("--store", tmp_path / "store")
    done = run("add", tmp_path / "train.npz", tmp_path / "test.npz", *NAMES, *store)
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["split", "train", "test"]
    probed = json.loads(run("probe", *NAMES, "--C", "1", *store, "--json").stdout)
    trial, test = probed["trials"][0]["trial"], probed["trials"][0]["test"]
    listed = run("mistakes", trial[:12], "--top", "3", *store).stdout
    assert "of 80 test rows" in listed
    assert "test/" in listed
    run("export", test[:12], tmp_path / "out.npz", *store)
    assert np.load(tmp_path / "out.npz")["names"].tolist() == names
    samples = run("show", test[:12], "--samples", "--limit", "2", *store).stdout.splitlines()
    assert samples[1].endswith(f",test/0.png,{CLASSES[ty[0]]}")
    missing = run("probe", *NAMES, "--test-split", "dev", *store, code=3).stderr
    assert "cryoprobe add FILE --model mine --dataset bugs" in missing


def test_texts_in_objects_are_refused_with_what_to_do(tmp_path: Path) -> None:
    x, y = data()
    file = npz(tmp_path / "train.npz", embeddings=x, labels=np.array([CLASSES[i] for i in y], object))
    with pytest.raises(BadInput, match="array of texts"):
        add(tmp_path, file)
