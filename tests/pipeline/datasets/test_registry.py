import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.data import write_images

from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.datasets import (
    canonical_name,
    dataset_pattern,
    known_splits,
    list_datasets,
    load_dataset,
    refuse_name,
)
from cryoprobe.pipeline.datasets.torchvision_sets import SPLITS


@pytest.mark.parametrize("kind", ["folder", "csv", "npz", "idx"])
def test_a_path_becomes_absolute_in_one_way(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = f"{kind}:{tmp_path}/a/b"
    for path in ("a/b", "./a/b", "a//b/", "a/../a/b", "~/a/b", f"{tmp_path}/a/b", f"{tmp_path}/./x/../a/b"):
        assert canonical_name(f"{kind}:{path}") == expected
    assert canonical_name(expected) == expected


def test_a_name_touches_no_file_and_a_link_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    assert canonical_name(f"folder:{tmp_path}/link") == f"folder:{tmp_path}/link"


def test_spaces_and_colons_belong_to_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert canonical_name("folder:my photos: 2020") == f"folder:{tmp_path}/my photos: 2020"


@pytest.mark.parametrize("name", ["torchvision:CIFAR10", "torchvision:EMNIST/letters", "sklearn:digits"])
def test_names_without_a_path_stay_as_they_are_wherever_the_data_lie(name: str, tmp_path: Path) -> None:
    assert canonical_name(name) == name
    assert canonical_name(name, tmp_path) == name


@pytest.mark.parametrize(
    "spec",
    [
        *("", ":", "folder", "folder:", "csv:", "npz:", "idx:", "torchvision:", "sklearn:", "sklearn:iris", "hdf5:x"),
        *("Folder:x", "photos", "/data/photos", "C:\\photos", " folder:x"),
    ],
)
def test_what_names_no_data_set_is_met_with_all_kinds(spec: str) -> None:
    for function in (load_dataset, refuse_name):
        with pytest.raises(BadInput, match="names no data set") as refused:
            function(spec)
        for kind in ("folder:", "csv:", "wds:", "parquet:", "hf:", "npz:", "idx:", "torchvision:", "sklearn:digits"):
            assert kind in str(refused.value)
        assert refused.value.key == spec


def test_a_filter_is_a_name_or_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert dataset_pattern("csv:a.csv") == f"csv:{tmp_path}/a.csv"
    assert dataset_pattern("torchvision:CIFAR10") == "torchvision:CIFAR10"
    assert dataset_pattern(None) is None
    for pattern in (
        "*",
        "csv:*.csv",
        "folder:*/birds",
        "my own",
        "photos",
        "hdf5:x",
        "folder:~nobody-at-all/x",
    ):
        assert dataset_pattern(pattern) == pattern
    for relative in ("data/*", "a?", "birds [v2]"):
        assert dataset_pattern(f"folder:{relative}") == f"folder:{tmp_path}/{relative}"
    (tmp_path / "old [1]" / "x").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "old [1]" / "x")
    assert dataset_pattern("folder:../birds [v2]/*") == f"folder:{tmp_path}/old [[]1]/birds [v2]/*"
    assert dataset_pattern("folder:.") == f"folder:{tmp_path}/old [[]1]/x"
    assert dataset_pattern(f"folder:{tmp_path}/old [1]/*") == f"folder:{tmp_path}/old [1]/*"


def test_splits_are_known_where_no_image_need_be_read_for_it(tmp_path: Path) -> None:
    for split in ("test", "train"):
        write_images(tmp_path / "images" / split, {"a": 1})
    (tmp_path / "t.csv").write_text("path,label,split\nx.png,a,one\ny.png,a,two\n")
    assert list(known_splits(f"folder:{tmp_path}/images") or ()) == ["train", "test"]
    assert list(known_splits(f"csv:{tmp_path}/t.csv") or ()) == ["one", "two"]
    assert known_splits("sklearn:digits") == ["all"]
    assert known_splits("torchvision:CIFAR10") == ("train", "test")
    for unknown in (f"folder:{tmp_path}/absent", f"npz:{tmp_path}/absent.npz", "torchvision:None"):
        assert known_splits(unknown) is None


def test_a_bare_path_is_met_with_the_name_that_was_probably_meant() -> None:
    with pytest.raises(BadInput, match=r"Is it a folder\? folder:/data/photos"):
        load_dataset("/data/photos")


def test_a_home_that_does_not_exist_is_an_error_that_names_it() -> None:
    with pytest.raises(BadInput, match="~nobody-of-this-name"):
        canonical_name("folder:~nobody-of-this-name/photos")


def test_every_kind_is_listed_with_an_example_that_names_a_data_set() -> None:
    rows = list_datasets()
    for kind in (
        "folder:PATH",
        "csv:FILE",
        "wds:PATTERN",
        "parquet:FILE",
        "hf:NAME",
        "npz:FILE",
        "idx:PATH",
        "sklearn:digits",
    ):
        assert [row.name for row in rows].count(kind) == 1
    for row in rows:
        spec = row.example.split(" ")[0]
        assert spec.partition(":")[0] == row.name.partition(":")[0]
        assert canonical_name(spec)
        assert row.description


def test_every_data_set_of_torchvision_is_listed_with_its_splits() -> None:
    rows = {row.name: row for row in list_datasets()}
    for name, splits in SPLITS.items():
        row = rows[f"torchvision:{name}"]
        assert all(split in row.description for split in splits)
        assert "--data-root" in row.example
    assert len(rows) == len(list_datasets()) == len(SPLITS) + 8


def test_every_kind_is_opened_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = write_images(tmp_path / "photos", {"a": 2, "b": 1})
    rows = "".join(f"{path.relative_to(tmp_path)},{path.parent.name}\n" for path in images)
    (tmp_path / "labels.csv").write_text(f"path,label\n{rows}")
    pixels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    np.savez(tmp_path / "data.npz", images=pixels, labels=np.array(["a", "a", "b"]))
    (tmp_path / "mnist").mkdir()
    header = bytes([0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 4])
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 0, 0, 1]))
    for spec, split in (
        ("folder:photos", "all"),
        ("csv:labels.csv", "all"),
        ("npz:data.npz", "all"),
        ("idx:mnist", "train"),
    ):
        data = load_dataset(spec)
        assert data.name == canonical_name(spec)
        assert list(data.splits) == [split]
        part = data.split(split)
        assert part.labels.tolist() == [0, 0, 1]
        assert all(part.decode(part.read(i)).size[0] > 0 for i in range(3))
        assert len(part.classes) == 2


def test_the_data_folder_of_torchvision_is_in_the_cache_unless_it_is_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound) as missing:
        load_dataset("torchvision:EuroSAT").split("all")
    assert str(cache / "data") in str(missing.value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound) as missing:
        load_dataset("torchvision:EuroSAT", data_root=Path("here")).split("all")
    assert str(tmp_path / "here") in str(missing.value)


def test_an_unknown_split_is_met_with_those_that_there_are(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {"a": 1})
    write_images(tmp_path / "val", {"a": 1})
    with pytest.raises(NotFound, match="has no split 'test'") as missing:
        load_dataset(f"folder:{tmp_path}").split("test")
    assert missing.value.hint == "It has: train, val."
    assert missing.value.key == "test"


def test_a_data_set_without_splits_says_that_there_is_nothing_to_choose() -> None:
    with pytest.raises(NotFound, match="Leave --split out"):
        load_dataset("sklearn:digits").split("train")


def test_an_unknown_split_of_torchvision_is_told_before_any_file_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="It has: train, val, test"):
        load_dataset("torchvision:DTD", data_root=tmp_path).split("validation")


def test_what_opens_folders_needs_neither_torch_nor_torchvision_nor_scikit_learn(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 1, "b": 1})
    code = (
        "import sys, cryoprobe.pipeline.datasets as d\n"
        f"split = d.load_dataset('folder:{tmp_path}').split('all'); split.decode(split.read(0)); d.list_datasets()\n"
        "print(*({m.partition('.')[0] for m in sys.modules} & {'torch', 'torchvision', 'sklearn', 'scipy', 'timm'}))"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (found.stdout.strip(), found.stderr) == ("", "")
