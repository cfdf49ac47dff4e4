"""Tar shards in webdataset's form: grouping, labels, splits, and what is odd or damaged."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import tarfile
from pathlib import Path

import pytest
from support.containers import CLASSES, add, age, as_shards, as_tar, samples

import cryoprobe
from cryoprobe.errors import BadInput, Conflict, CryoprobeError, NotFound
from cryoprobe.pipeline.datasets import load_dataset
from cryoprobe.pipeline.datasets.base import Split, UndecodableImage
from cryoprobe.pipeline.datasets.containers.patterns import expanded
from cryoprobe.pipeline.datasets.containers.tar_index import key_of

RAW = [s.raw for s in samples(12)]
ONE = {"a/0.jpg": RAW[0], "a/0.cls": b"ant"}


def opened(path: Path | str, split: str = "all", **options: object) -> Split:
    return load_dataset(f"wds:{path}", **options).split(split)  # type: ignore[arg-type]


def notes_of(path: Path | str, split: str = "all") -> str:
    data = load_dataset(f"wds:{path}")
    data.split(split)
    return "\n".join(data.notes())  # type: ignore[attr-defined]


def test_samples_are_grouped_as_webdataset_groups_them(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    names = ["x/0.jpg", "x/0.cls", "x.y/1.JPG", "x.y/1.cls", "2.left.jpg", "2.cls", "__meta__", "__m/3.jpg", "noending"]
    names += ["./4.cls", "./4.png", "5.jpg", "6.cls", "6.jpg", "5.cls", "a.b.c/7.webp", "a.b.c/7.json", "d/.hidden.jpg"]
    path = as_tar(tmp_path / "s.tar", [(name, name.encode() if "json" not in name else b"1") for name in names])
    theirs = [s["__key__"] for s in webdataset.WebDataset(str(path), shardshuffle=False)]
    files = webdataset.tariterators.tar_file_iterator
    with path.open("rb") as stream:
        grouped = list(
            webdataset.tariterators.group_by_keys({**f, "__url__": ""} for f in files(stream))  # type: ignore[attr-defined]
        )
    assert theirs == [s["__key__"] for s in grouped]
    for name in names:
        found = key_of(name)
        assert (found or (None, None)) == (lambda pair: (pair[0], pair[1] and pair[1].lower()))(
            webdataset.tariterators.base_plus_ext(name)
        )
    images = {s["__key__"] for s in grouped if any(k.rpartition(".")[2] in ("jpg", "png", "webp") for k in s)}
    split = load_dataset(f"wds:{path}", unlabelled=True).split("unlabelled")
    ours = [split.read(i).decode() for i in range(len(split))]
    assert {key_of(name)[0] for name in ours} == images  # type: ignore[index]


def test_braces_are_expanded_as_webdataset_expands_them() -> None:
    webdataset = pytest.importorskip("webdataset")
    for pattern in ("a-{000..012}.tar", "{a,b}/{0..2}.tar", "x/{train-{0..1},test}.tar", "plain.tar", "{00..10..5}"):
        assert expanded(pattern) == webdataset.shardlists.expand_urls(pattern)
    with pytest.raises(BadInput, match="does not close"):
        expanded("{000..1.tar")


def test_the_order_is_that_of_the_pattern_and_then_of_the_tar(tmp_path: Path) -> None:
    for shard, keys in (("b", "31"), ("a", "20")):
        as_tar(
            tmp_path / f"{shard}.tar", {f"{k}.{e}": r for k in keys for e, r in (("jpg", RAW[int(k)]), ("cls", b"0"))}
        )
    split = opened(tmp_path / "{b,a}.tar")
    assert [split.read(i) for i in range(4)] == [RAW[3], RAW[1], RAW[2], RAW[0]]
    split = opened(tmp_path / "?.tar")
    assert [split.read(i) for i in range(4)] == [RAW[2], RAW[0], RAW[3], RAW[1]]
    assert [split.read(i) for i in range(4)] == [opened(tmp_path).read(i) for i in range(4)]


@pytest.mark.parametrize(
    ("shards", "splits"),
    [
        (["train-000", "train-001", "val-000"], ["train", "val"]),
        (["train/0", "test/0"], ["train", "test"]),
        (["imagenet-train-0", "imagenet-validation-0"], ["train", "validation"]),
        (["train-0", "0001"], ["all"]),
        (["train-val-0"], ["all"]),
        (["0", "1"], ["all"]),
    ],
)
def test_splits_are_told_by_the_names_of_shards(shards: list[str], splits: list[str], tmp_path: Path) -> None:
    for shard in shards:
        as_tar(tmp_path / f"{shard}.tar", ONE)
    assert list(load_dataset(f"wds:{tmp_path}").splits) == splits
    assert "splits" in notes_of(tmp_path, splits[0])


def test_labels_are_names_or_integers_that_class_names_tell(tmp_path: Path) -> None:
    members = {f"{i}.{e}": r for i in range(3) for e, r in (("jpg", RAW[i]), ("cls", b"%d\n" % (10 - i)))}
    path = as_tar(tmp_path / "s.tar", members)
    assert opened(path).classes == ("8", "9", "10")
    assert opened(path).labels.tolist() == [2, 1, 0]
    names = [f"class {i}" for i in range(11)]
    for content in ("\n".join(names), json.dumps(names), json.dumps({str(i): n for i, n in enumerate(names)})):
        (tmp_path / "names").write_text(content)
        split = opened(path, class_names=tmp_path / "names")
        assert split.classes == tuple(names)
        assert split.labels.tolist() == [10, 9, 8]
    (tmp_path / "names").write_text("a\nb\n")
    with pytest.raises(BadInput, match="the label 8 is not one of the 2 classes"):
        opened(path, class_names=tmp_path / "names")
    with pytest.raises(NotFound, match="There is no file"):
        opened(path, class_names=tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "content", "label"),
    [
        ("0.txt", b"ant\n", "ant"),
        ("0.json", b'{"label": "bee", "cls": 3}', "bee"),
        ("0.json", b'{"cls": 3}', "3"),
        ("0.json", b"7", "7"),
    ],
)
def test_labels_are_read_from_txt_and_json_too(name: str, content: bytes, label: str, tmp_path: Path) -> None:
    path = as_tar(tmp_path / "s.tar", {"0.jpg": RAW[0], name: content})
    assert opened(path).classes == (label,)
    assert f"Labels are read from .{name[2:]}: 1 class" in notes_of(path)


def test_a_field_or_an_extension_can_be_told(tmp_path: Path) -> None:
    members = {"0.left.jpg": RAW[0], "0.right.jpg": RAW[1], "0.json": b'{"species": "owl"}', "0.kind": b"bird"}
    path = as_tar(tmp_path / "s.tar", members)
    with pytest.raises(BadInput, match=r"the sample 0 has several images: \.left\.jpg, \.right\.jpg"):
        opened(path)
    with pytest.raises(BadInput, match=r"A sample has no label, such as 0\.left\.jpg in s\.tar"):
        opened(path, image_column="left.jpg")
    split = opened(path, image_column="right.jpg", label_column="json.species")
    assert (split.classes, split.read(0)) == (("owl",), RAW[1])
    assert opened(path, image_column="left.jpg", label_column="kind").classes == ("bird",)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"0.jpg": b"x", "1.jpg": b"x", "1.cls": b"a"}, "A sample has no label, such as 0.jpg"),
        ({"0.jpg": b"x", "0.cls": b""}, "A sample has no label"),
        ({"0.jpg": b"x", "0.cls": b"a", "1.jpg": b"x", "1.txt": b"a"}, "several kinds of members: .cls 1, .txt 1"),
        ({"0.jpg": b"x", "0.json": b'{"label": [1, 2]}'}, r"the label is \[1, 2\], not an integer or a text"),
        ({"0.jpg": b"x", "0.json": b'{"label": true}'}, "the label is true"),
        ({"0.jpg": b"x", "0.json": b"{"}, "is not JSON"),
        ({"0.jpg": b"x", "0.json": b"[" * 100_000}, "is not JSON"),
        ({"0.jpg": b"x", "0.cls": b"\xff\xfe"}, "is not UTF-8"),
        ({"0.cls": b"a", "0.txt": b"b"}, "holds no images"),
        ([("0.jpg", b"x"), ("0.JPG", b"y")], "the sample 0 has two members .jpg"),
    ],
)
def test_what_cannot_be_a_sample_is_one_clear_error(
    members: dict[str, bytes] | list[tuple[str, bytes]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        opened(as_tar(tmp_path / "s.tar", members))


def test_what_is_not_used_is_a_note(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for name, raw in {**ONE, "b/1.json": b"{}", "README": b"hello", "__info__": b"x"}.items():
            add(tar, name, raw)
        link = tarfile.TarInfo("a/2.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, raw in ONE.items():  # the same key again
            add(tar, name, raw)
    (tmp_path / "empty.tar").write_bytes(b"")
    with tarfile.open(tmp_path / "none.tar", "w"):
        pass
    notes = notes_of(tmp_path)
    assert "empty files 1, links and devices 1, names without an ending 2" in notes
    assert "Left out, as they have no image: 1 sample, such as b/1" in notes
    assert "1 key occurs in several places of one tar file, such as a/0: each is a sample" in notes
    assert len(opened(tmp_path)) == 2


def test_without_labels_nothing_is_asked_of_what_would_be_labels(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "s.tar", {"0.jpg": RAW[0], "0.json": b'{"label": [1]}', "1.jpg": RAW[1], "1.cls": b"\xff"})
    split = opened(path, "unlabelled", unlabelled=True)
    assert [split.read(i) for i in range(2)] == RAW[:2]
    assert split.labels.tolist() == [-1, -1]


def test_captions_that_would_be_classes_are_noticed(tmp_path: Path) -> None:
    path = as_tar(
        tmp_path / "s.tar", {f"{i}.{e}": r for i in range(9) for e, r in (("jpg", RAW[i]), ("txt", b"dog %d" % i))}
    )
    assert "9 classes of 9 samples are many: if .txt holds captions" in notes_of(path)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_and_odd_names_are_read_whatever_headers_they_need(form: int, tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    keys = ["x" * 300, "é" * 120, "a/" * 80 + "deep", "blank s", "new\nline"]
    with tarfile.open(path, "w", format=form) as tar:
        for key, raw in zip(keys, RAW, strict=False):
            info = tarfile.TarInfo(f"{key}.jpg")
            info.size, info.pax_headers = len(raw), {"comment": "y" * 2000}
            tar.addfile(info, io.BytesIO(raw))
            add(tar, f"{key}.cls", b"a")
    split = opened(path)
    assert [split.read(i) for i in range(len(keys))] == RAW[: len(keys)]
    assert all(split.describe(i).encode() for i in range(len(keys)))


def test_sparse_members_are_left_out_with_a_note(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "s.tar", ONE)
    header = tarfile.TarInfo("b/1.jpg")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"00000000000\0" + b"00000001000\0"
    block[483:495] = b"00000010000\0"
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    whole = path.read_bytes()
    at = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    path.write_bytes(whole[:at] + bytes(block) + b"s" * 512 + b"\0" * 1024)
    assert "sparse files 1" in notes_of(path)
    assert len(opened(path)) == 1


def test_compressed_tars_say_what_to_do(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "s.tar", ONE)
    packed = tmp_path / "packed.tar"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(BadInput, match=r"compressed \(gzip\)[\s\S]*gunzip"):
        opened(packed)


def test_a_tar_that_ends_early_is_refused_or_noted(tmp_path: Path) -> None:
    whole = as_tar(
        tmp_path / "whole.tar", {f"{i}.{e}": r for i in range(4) for e, r in (("cls", b"a"), ("jpg", RAW[i]))}
    )
    content = whole.read_bytes().rstrip(b"\0")
    path = tmp_path / "cut.tar"
    for end in (700, len(content) - 100, len(content) // 2):
        path.write_bytes(content[:end])
        with pytest.raises(BadInput, match=r"cut\.tar (cannot be read as a tar file|is damaged)"):
            opened(path)
    path.write_bytes(content + b"\0" * (-len(content) % 512))
    assert "has no mark at the end and may be cut short" in notes_of(path)


def test_damage_never_gives_another_image_or_another_kind_of_error(tmp_path: Path) -> None:
    rng = random.Random(0)
    good = as_tar(tmp_path / "good.tar", {f"{i}.{e}": r for i in range(6) for e, r in (("cls", b"a"), ("jpg", RAW[i]))})
    whole, path = good.read_bytes(), tmp_path / "bad.tar"
    for turn in range(150):
        broken = bytearray(whole)
        for _ in range(rng.choice((1, 3, 40))):
            broken[rng.randrange(len(whole))] = rng.randrange(256)
        if turn % 3 == 0:
            del broken[rng.randrange(len(broken)) :]
        path.write_bytes(broken)
        try:
            data = load_dataset(f"wds:{path}")
            split = data.split(data.splits[0])
            for i in range(len(split)):
                split.read(i)
        except (CryoprobeError, UndecodableImage):
            continue
        odd = "\n".join(data.notes())  # type: ignore[attr-defined]
        assert len(split) == 6 or "Left out" in odd or "cut short" in odd or "several places" in odd, turn


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("absent.tar", r"There is no .*absent\.tar"),
        ("*.none", "names no file"),
        ("s-{0..2}.tar", r"1 file of .* is not there: .*s-2\.tar"),
        ("empty", "names no file"),
    ],
)
def test_a_pattern_that_fits_nothing_is_one_clear_error(pattern: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for number in range(2):
        as_tar(tmp_path / f"s-{number}.tar", ONE)
    with pytest.raises(NotFound, match=message):
        load_dataset(f"wds:{tmp_path}/{pattern}")


def test_a_shard_that_changes_meanwhile_is_a_conflict(tmp_path: Path) -> None:
    path = as_tar(tmp_path / "s.tar", ONE)
    split = opened(path)
    os.utime(path, (1, 1))
    with pytest.raises(Conflict, match="changed while it was used"):
        split.read(0)


def test_an_unchanged_shard_is_not_looked_through_again_and_a_changed_one_is(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = as_shards(tmp_path / "wds", samples(6), "train", 10)
    age(tmp_path / "wds")
    first = opened(path, "train")
    assert len(list(cache.rglob("indices/*.json"))) == 1
    with monkeypatch.context() as patched:
        patched.setattr(tarfile, "open", None)  # which alone looks through tar files
        again = opened(path, "train")
    assert [again.read(i) for i in range(6)] == [first.read(i) for i in range(6)]
    assert again.labels.tolist() == first.labels.tolist()
    as_shards(tmp_path / "wds", samples(5, seed=3), "train", 10)
    assert len(opened(path, "train")) == 5
    for file in cache.rglob("indices/*.json"):
        file.write_text('{"of": []')
    assert len(opened(path, "train")) == 5


def test_it_works_on_the_command_line_and_its_options_are_for_such_data_alone(tmp_path: Path, store: Path) -> None:
    from support.cli import run

    as_shards(tmp_path, samples(6), "train", 10)
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    words = ("extract", "--model", "timm:test_vit", "--untrained", "--image-size", "32", "--store", str(store))
    done = run(*words, "--dataset", f"wds:{tmp_path}/train-*.tar", "--class-names", str(tmp_path / "names.txt"))
    assert "train" in done.stdout
    refused = run(*words, "--dataset", "sklearn:digits", "--class-names", "x", code=2)
    assert (
        "--class-names is for wds:PATTERN, parquet:FILE, hf:NAME, and has no effect on sklearn:digits" in refused.stderr
    )


def test_options_for_named_data_are_refused_with_an_object(encoder: cryoprobe.Encoder, store: Path) -> None:
    data = load_dataset("sklearn:digits")
    with pytest.raises(BadInput, match="label_column is for data sets that are named"):
        cryoprobe.extract(encoder, data, store, label_column="x", progress=False)
