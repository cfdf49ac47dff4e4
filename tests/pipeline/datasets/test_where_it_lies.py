"""The same images as a folder, tar shards, parquet, Arrow, npz and objects in a bucket are the same samples."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.containers import CLASSES, age, as_folder, as_hub_parquet, as_parquet, as_shards, samples
from support.counting import Counted, counting
from support.data import Heard
from support.servers import serving_folder

import cryoprobe
from cryoprobe.pipeline.datasets import load_dataset
from cryoprobe.pipeline.encoders import Encoder

N_TRAIN, N_TEST = 375, 125
AGAIN = -(-N_TRAIN // 50) - (-N_TEST // 50)
"""Of reused rows one in fifty is encoded again."""
TRAIN, TEST = samples(N_TRAIN), samples(N_TEST, seed=1)


class Listening(Heard):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the names of one data set in all local containers."""
    datasets = pytest.importorskip("datasets")
    root = tmp_path_factory.mktemp("where")
    saved = {}
    packed: dict[str, object] = {}
    for split, found in (("train", TRAIN), ("test", TEST)):
        as_folder(root / "folder" / split, found)
        as_shards(root / "wds", found, split, per_shard=125)
        as_parquet(root / "parquet" / f"{split}.parquet", found)
        as_hub_parquet(root / "hub" / "data" / f"{split}-00000-of-00001.parquet", found)
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))})
        rows = {"image": [{"bytes": s.raw, "path": None} for s in found], "label": [CLASSES.index(s[0]) for s in found]}
        saved[split] = datasets.Dataset.from_dict(rows, features=features)
        raws = [s.raw for s in found]
        packed[f"{split}_images"] = np.frombuffer(b"".join(raws), np.uint8)
        packed[f"{split}_offsets"] = np.cumsum([0, *map(len, raws)])
        packed[f"{split}_labels"] = np.array([s.label for s in found])
    one = [*TRAIN, *TEST]
    as_parquet(root / "one.parquet", one, split=["train"] * len(TRAIN) + ["test"] * len(TEST))
    datasets.DatasetDict(saved).save_to_disk(str(root / "saved"))
    np.savez(root / "packed.npz", **packed)
    age(root)
    return {
        "folder": f"folder:{root}/folder",
        "wds": f"wds:{root}/wds/{{train-{{000..002}},test-000}}.tar",
        "parquet": f"parquet:{root}/parquet",
        "one parquet": f"parquet:{root}/one.parquet",
        "hub": f"hf:{root}/hub",
        "hf": f"hf:{root}/saved",
        "npz": f"npz:{root}/packed.npz",
    }


@pytest.fixture
def bucket(s3: str, places: dict[str, str]) -> str:
    """Return a place in a bucket with the folder and the shards."""
    from obstore.store import from_url

    storage = from_url(s3, client_options={"allow_http": True})
    root = Path(places["folder"].removeprefix("folder:")).parent
    for part in ("folder", "wds"):
        for path in (root / part).rglob("*.*"):
            storage.put(path.relative_to(root).as_posix(), path.read_bytes())
    return s3


@pytest.fixture
def counted(bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    with counting(os.environ["AWS_ENDPOINT_URL"]) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        yield found


def outline(name: str) -> object:
    """Return all that makes a data set what it is: splits, classes, labels and bytes, in order."""
    data = load_dataset(name)
    return [
        (part, data.split(part).classes, data.split(part).labels.tolist(), [data.split(part).read(i) for i in range(n)])
        for part in data.splits
        for n in [len(data.split(part))]
    ]


def test_the_same_images_are_the_same_data_set_in_every_container(places: dict[str, str]) -> None:
    expected = outline(places["folder"])
    assert [s.raw for s in TRAIN] == expected[0][3]  # type: ignore[index]
    for name in places.values():
        assert outline(name) == expected, name


def test_the_same_images_are_encoded_once_and_are_one_set_in_every_container_and_bucket(
    places: dict[str, str], bucket: str, encoder: Encoder, store: Path
) -> None:
    first = cryoprobe.extract(encoder, places["folder"], store, progress=False)
    assert [s.encoded for s in first] == [N_TRAIN, N_TEST]
    for name in (*places.values(), f"folder:{bucket}/folder", f"wds:{bucket}/wds/*.tar"):
        again = cryoprobe.extract(encoder, name, store, progress=False)
        assert [(s.set, s.split, s.encoded, s.reused) for s in again] == [(s.set, s.split, 0, s.rows) for s in first], (
            name
        )


def test_what_samples_are_called_tells_where_they_lie(places: dict[str, str]) -> None:
    called = {kind: load_dataset(name).split("train").describe(1) for kind, name in places.items()}
    assert called == {
        "folder": "train/ant/0-00003.jpg",
        "wds": "train-000.tar/ant/0-00003.jpg",
        "parquet": "train.parquet row 1",
        "one parquet": "one.parquet row 1",
        "hub": "train-00000-of-00001.parquet row 1",
        "hf": "row 1",
        "npz": "row 1",
    }


@pytest.mark.parametrize("kind", ["wds", "parquet", "hub", "hf"])
def test_a_second_look_at_unchanged_files_reads_no_image(
    kind: str, places: dict[str, str], encoder: Encoder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cryoprobe.extract(encoder, places[kind], store, progress=False)
    from cryoprobe.pipeline.datasets.containers.encoded import EncodedSplit

    read: list[int] = []
    whole = EncodedSplit.read

    def noted(self: EncodedSplit, index: int) -> bytes:
        read.append(index)
        return whole(self, index)

    monkeypatch.setattr(EncodedSplit, "read", noted)
    again = cryoprobe.extract(encoder, places[kind], store, progress=False)
    assert [s.encoded for s in again] == [0, 0]
    # A few are hashed and encoded again in every run, as files are: 4 of each split, and one in fifty.
    assert len(read) <= 2 * 4 + AGAIN


def test_objects_of_a_bucket_are_listed_once_and_each_is_read_once(
    bucket: str, counted: Counted, encoder: Encoder, store: Path
) -> None:
    name = f"folder:{bucket}/folder"
    cryoprobe.extract(encoder, name, store, progress=False)
    assert len(counted.listings()) == 1
    assert len(counted.reads()) == len(set(counted.reads())) == N_TRAIN + N_TEST
    counted.clear()
    again = cryoprobe.extract(encoder, name, store, progress=False)
    assert [s.encoded for s in again] == [0, 0]
    assert len(counted.listings()) == 1
    assert len(counted.reads()) <= AGAIN


def test_an_object_that_was_replaced_is_read_again(bucket: str, encoder: Encoder, store: Path) -> None:
    from obstore.store import from_url

    name = f"folder:{bucket}/folder"
    cryoprobe.extract(encoder, name, store, progress=False)
    new = samples(1, seed=7)[0].raw
    from_url(bucket, client_options={"allow_http": True}).put("folder/train/ant/0-00000.jpg", new)
    again = cryoprobe.extract(encoder, name, store, progress=False)
    assert [s.encoded for s in again] == [1, 0]


def test_bytes_of_remote_shards_are_read_once_in_all_and_not_at_all_a_second_time(
    bucket: str, counted: Counted, places: dict[str, str], encoder: Encoder, store: Path
) -> None:
    name = f"wds:{bucket}/wds/{{train-{{000..002}},test-000}}.tar"
    size = sum(p.stat().st_size for p in Path(places["folder"].removeprefix("folder:")).parent.glob("wds/*.tar"))
    cryoprobe.extract(encoder, name, store, progress=False)
    assert len(counted.reads()) == 4
    assert size <= counted.received < size + 50_000  # headers of answers, and the listing
    counted.clear()
    again = cryoprobe.extract(encoder, name, store, progress=False)
    assert [s.encoded for s in again] == [0, 0]
    assert counted.reads() == []


def test_remote_shards_that_do_not_fit_the_spool_are_read_by_their_headers_and_images(
    bucket: str, counted: Counted, encoder: Encoder, store: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRYOPROBE_SPOOL_SIZE", "1B")
    sets = cryoprobe.extract(encoder, f"wds:{bucket}/wds/*.tar", store, progress=False)
    assert [s.encoded for s in sets] == [N_TRAIN, N_TEST]
    assert not list(cache.rglob("files/*.tar"))
    counted.clear()
    shutil.rmtree(store)  # another encoder, say: the images are needed, the shards are not looked through again
    sets = cryoprobe.extract(encoder, f"wds:{bucket}/wds/*.tar", store, progress=False)
    assert [s.encoded for s in sets] == [N_TRAIN, N_TEST]
    assert len(counted.reads()) == N_TRAIN + N_TEST


def test_shards_of_a_web_server_are_read_as_those_of_a_disk(places: dict[str, str], encoder: Encoder) -> None:
    pytest.importorskip("obstore")
    root = Path(places["folder"].removeprefix("folder:")).parent
    with serving_folder(root) as url:
        assert outline(f"wds:{url}/wds/{{train-{{000..002}},test-000}}.tar") == outline(places["folder"])
        with pytest.raises(cryoprobe.NotFound, match=r"1 file of .* is not there: .*train-003\.tar"):
            load_dataset(f"wds:{url}/wds/train-{{000..003}}.tar")
        with pytest.raises(cryoprobe.BadInput, match="does not list its files"):
            load_dataset(f"wds:{url}/wds/*.tar")
        with pytest.raises(cryoprobe.BadInput, match="does not list its files"):
            load_dataset(f"folder:{url}/folder")


def test_two_processes_share_the_shards_of_a_bucket(
    bucket: str, places: dict[str, str], store: Path, cache: Path
) -> None:
    command = [
        *(
            sys.executable,
            "-m",
            "cryoprobe",
            "extract",
            "--model",
            "timm:test_vit",
            "--untrained",
            "--image-size",
            "32",
        ),
        *("--dataset", f"wds:{bucket}/wds/*.tar", "--store", str(store), "--batch-size", "4", "--unit-rows", "8"),
        *("--json", "--device", "cpu"),
    ]
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    found = [{s["split"]: s for s in json.loads(out)["sets"]} for out, _ in outputs]
    assert {s["set"] for s in found[0].values()} == {s["set"] for s in found[1].values()}
    encoded = {split: sum(of[split]["encoded"] for of in found) for split in ("train", "test")}
    # At most a batch per process is encoded twice.
    assert N_TRAIN <= encoded["train"] <= N_TRAIN + 8
    assert N_TEST <= encoded["test"] <= N_TEST + 8
    assert len(list(cache.rglob("files/*.tar"))) == 4


@pytest.mark.parametrize("kind", ["folder", "wds"])
def test_a_bucket_that_is_not_there_or_not_ours_is_one_clear_error(
    kind: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(cryoprobe.NotFound, match="There is no bucket absent-bucket"):
        load_dataset(f"{kind}:s3://absent-bucket/a.tar")
    with pytest.raises(cryoprobe.NotFound, match="There is n"):
        load_dataset(f"{kind}:{bucket}/nothing-here.tar")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(cryoprobe.Unavailable, match=r"The storage refuses to read .*403"):
        load_dataset(f"{kind}:{bucket}/wds/train-000.tar")


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(cryoprobe.BadInput, match="more than its place") as refused:
        load_dataset("wds:https://me:secret@host/a.tar")
    assert "secret" not in str(refused.value)


def test_images_in_a_bucket_keep_odd_names_and_the_rules_of_folders(s3: str) -> None:
    from obstore.store import from_url

    storage = from_url(s3, client_options={"allow_http": True})
    raw = [s.raw for s in samples(4)]
    for key, content in {
        "a b/é #1.jpg": raw[0],
        "a b/50%.jpg": raw[1],
        "c/x+y=1.jpg": raw[2],
        "c/notes.txt": b"hm",
        "c/.hidden.jpg": raw[3],
        "c/Thumbs.db": b"x",
    }.items():
        storage.put(key, content)
    data = load_dataset(f"folder:{s3}", ignore=["nothing*"])
    split = data.split("all")
    assert split.classes == ("a b", "c")
    assert {split.describe(i): split.read(i) for i in range(len(split))} == {
        "a b/50%.jpg": raw[1],
        "a b/é #1.jpg": raw[0],
        "c/x+y=1.jpg": raw[2],
    }
    notes = " ".join(data.notes())  # type: ignore[attr-defined]
    assert "Left out, as the ending is not an image's: 1 file (.txt 1), such as c/notes.txt" in notes
    assert f"{s3} is read as 2 classes (a b, c) without splits" in notes
    whole = load_dataset(f"folder:{s3}", unlabelled=True).split("unlabelled")
    assert len(whole) == 3


def test_notes_say_how_shards_were_read(places: dict[str, str], encoder: Encoder, store: Path) -> None:
    heard = Listening()
    cryoprobe.extract(encoder, places["wds"], store, reporter=heard)
    assert "4 tar files are read as splits, by their names: train 3, test 1" in heard.notes
    assert "Labels are read from .cls: 3 classes" in heard.notes


def test_what_is_read_ahead_of_a_full_block_is_not_read_twice(
    tmp_path: Path, encoder: Encoder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryoprobe.pipeline.datasets.splits import FileSplit
    from cryoprobe.pipeline.extraction import sample_ids

    as_folder(tmp_path / "data", TRAIN)
    monkeypatch.setattr(sample_ids, "HELD_BYTES", 3000)  # a few of these images fill a block
    read: list[int] = []
    whole = FileSplit.read

    def noted(self: FileSplit, index: int) -> bytes:
        read.append(index)
        return whole(self, index)

    monkeypatch.setattr(FileSplit, "read", noted)
    cryoprobe.extract(encoder, f"folder:{tmp_path}/data", store, progress=False)
    assert sorted(read) == list(range(N_TRAIN))
