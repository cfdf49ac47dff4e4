import gzip
import hashlib
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.datasets import load_digits

from cryoprobe.errors import BadInput, Conflict, NotFound
from cryoprobe.pipeline.datasets import Dataset, Split, load_dataset
from cryoprobe.pipeline.datasets.images import decode_pixels, encode_pixels

FASHION = Path("/usr/share/datasets/fashion-mnist")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 5, 7), np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 7, 3), np.uint8)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def npz(folder: Path, **arrays: Any) -> Dataset:
    np.savez(folder / "data.npz", **arrays)
    return load_dataset(f"npz:{folder / 'data.npz'}")


def named(split: Split) -> list[str]:
    return [split.classes[label] for label in split.labels]


def pixels(split: Split) -> list[npt.NDArray[Any]]:
    return [np.asarray(split.decode(split.read(i))) for i in range(len(split))]


def ids(split: Split) -> list[str]:
    return [hashlib.sha256(split.read(i)).hexdigest() for i in range(len(split))]


def idx_bytes(array: npt.NDArray[Any], code: int = 0x08) -> bytes:
    big = array.astype(array.dtype.newbyteorder(">"))
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + big.tobytes()


def write_idx(
    folder: Path,
    images: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    prefix: str = "train",
    separator: str = "-",
    packed: bool = False,
) -> None:
    folder.mkdir(exist_ok=True)
    for kind, array in ((f"images{separator}idx3", images), (f"labels{separator}idx1", labels)):
        raw = idx_bytes(array)
        (folder / f"{prefix}-{kind}-ubyte{'.gz' if packed else ''}").write_bytes(gzip.compress(raw) if packed else raw)


def idx(folder: Path) -> Dataset:
    return load_dataset(f"idx:{folder}")


# npz


@pytest.mark.parametrize("images", [IMAGES, IMAGES[..., None], COLOUR, np.concatenate([COLOUR, COLOUR[..., :1]], 3)])
def test_images_of_an_npz_come_back_as_they_are(tmp_path: Path, images: npt.NDArray[np.uint8]) -> None:
    data = npz(tmp_path, images=images, labels=np.arange(6))
    split = data.split("all")
    assert list(data.splits) == ["all"]
    assert len(split) == 6
    assert split.describe(4) == "row 4"
    assert split.path(4) is None
    assert split.sources == (tmp_path / "data.npz",)
    channels = 1 if images.ndim == 3 else images.shape[3]
    for i, found in enumerate(pixels(split)):
        assert split.decode(split.read(i)).mode == MODES[channels]
        np.testing.assert_array_equal(found, images[i, ..., 0] if images.shape[3:] == (1,) else images[i])


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_images_are_scaled_whichever_way_round_they_are_stored(tmp_path: Path, order: str) -> None:
    images = RNG.integers(0, 65536, (3, 4, 5)).astype(f"{order}u2")
    split = npz(tmp_path, images=images, labels=np.arange(3)).split("all")
    (tmp_path / "native").mkdir()
    native = npz(tmp_path / "native", images=images.astype(np.uint16), labels=np.arange(3)).split("all")
    assert split.decode(split.read(0)).mode == "L"
    for found, expected in zip(pixels(split), images, strict=True):
        np.testing.assert_array_equal(found, np.rint(expected / 257))
    assert ids(split) == ids(native)


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (np.array([10, 9, 10, -1, 9, 9]), ("-1", "9", "10"), [2, 1, 2, 0, 1, 1]),
        (np.array([0, 1, 2, 0, 1, 2], np.uint8), ("0", "1", "2"), [0, 1, 2, 0, 1, 2]),
        (np.array([[4], [2], [4], [2], [2], [2]]), ("2", "4"), [1, 0, 1, 0, 0, 0]),
        (np.array(["dog", "cat", "dog", "ant", "cat", "cat"]), ("ant", "cat", "dog"), [2, 1, 2, 0, 1, 1]),
        (np.array(["10", "9", "10", "9", "9", "9"]), ("9", "10"), [1, 0, 1, 0, 0, 0]),
        (np.array([b"dog", b"cat", b"dog", b"cat", b"cat", b"cat"]), ("cat", "dog"), [1, 0, 1, 0, 0, 0]),
        (np.array(["é".encode(), b"e", b"e", b"e", b"e", b"e"]), ("e", "é"), [1, 0, 0, 0, 0, 0]),
    ],
    ids=["integers", "bytes", "column", "strings", "numbers-as-strings", "byte-strings", "utf-8"],
)
def test_labels_of_an_npz_are_numbered_by_their_sorted_names(
    tmp_path: Path, labels: npt.NDArray[Any], classes: tuple[str, ...], expected: list[int]
) -> None:
    split = npz(tmp_path, images=IMAGES, labels=labels).split("all")
    assert split.classes == classes
    assert split.labels.dtype == np.int64
    assert split.labels.tolist() == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_])
def test_rows_of_flags_are_multi_label(tmp_path: Path, dtype: type) -> None:
    flags = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    split = npz(tmp_path, images=IMAGES, labels=flags.astype(dtype)).split("all")
    assert split.classes == ("0", "1", "2")
    assert split.labels.dtype == np.uint8
    assert split.labels.tolist() == flags.tolist()
    named_ = npz(tmp_path, images=IMAGES, labels=flags.astype(dtype), classes=["x", "y", "z"]).split("all")
    assert named_.classes == ("x", "y", "z")


@pytest.mark.parametrize("key", ["classes", "class_names"])
@pytest.mark.parametrize("kind", ["U", "S"])
def test_class_names_are_kept_in_the_order_that_integers_index(tmp_path: Path, key: str, kind: str) -> None:
    names = np.array(["zebra", "ant", "unused"]).astype(kind)
    data = npz(tmp_path, images=IMAGES, labels=np.array([0, 1, 0, 1, 1, 1]), **{key: names})
    split = data.split("all")
    assert split.classes == ("zebra", "ant", "unused")
    assert split.labels.tolist() == [0, 1, 0, 1, 1, 1]


def test_string_labels_are_looked_up_in_the_class_names(tmp_path: Path) -> None:
    labels = np.array(["ant", "zebra", "ant", "ant", "ant", "ant"])
    split = npz(tmp_path, images=IMAGES, labels=labels, classes=["zebra", "ant"]).split("all")
    assert split.classes == ("zebra", "ant")
    assert named(split) == labels.tolist()


@pytest.mark.parametrize("form", ["split", "medmnist", "keras"])
def test_the_splits_of_an_npz_may_be_named_in_three_ways(tmp_path: Path, form: str) -> None:
    labels = np.array(["b", "a", "b", "c", "a", "b"])
    if form == "split":
        which = np.array(["train", "test", "train", "val", "test", "train"])
        data = npz(tmp_path, images=IMAGES, labels=labels, split=which)
        rows = {s: np.flatnonzero(which == s) for s in ("train", "val", "test")}
    else:
        rows = {"train": np.arange(3), "val": np.arange(3, 4), "test": np.arange(4, 6)}
        image, label = ("{}_images", "{}_labels") if form == "medmnist" else ("x_{}", "y_{}")
        arrays = {image.format(s): IMAGES[r] for s, r in rows.items()}
        data = npz(tmp_path, **arrays, **{label.format(s): labels[r] for s, r in rows.items()})
    assert list(data.splits) == ["train", "val", "test"]
    for s, r in rows.items():
        split = data.split(s)
        assert split.classes == ("a", "b", "c")
        assert named(split) == labels[r].tolist()
        np.testing.assert_array_equal(pixels(split), IMAGES[r])


def test_byte_strings_name_splits_too(tmp_path: Path) -> None:
    which = np.array([b"train", b"test"] * 3)
    assert list(npz(tmp_path, images=IMAGES, labels=np.arange(6), split=which).splits) == ["train", "test"]


def test_splits_may_have_images_of_different_sizes(tmp_path: Path) -> None:
    data = npz(
        tmp_path, x_train=IMAGES, y_train=np.arange(6), x_test=np.zeros((2, 9, 9, 3), np.uint8), y_test=np.arange(2)
    )
    assert pixels(data.split("test"))[0].shape == (9, 9, 3)
    assert data.split("test").classes == data.split("train").classes


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES, "labels": np.arange(5)}, "6 images and 5 labels"),
        ({"images": IMAGES}, "has the arrays images"),
        ({"pixels": IMAGES, "labels": np.arange(6)}, "has the arrays pixels, labels"),
        ({}, r"has the arrays \(none\)"),
        ({"x_train": IMAGES, "y_test": np.arange(6)}, "has the arrays x_train, y_test"),
        ({"images": IMAGES, "labels": np.arange(6.0) / 2}, r"float64 \[6\], and one is 0.5"),
        ({"images": IMAGES, "labels": np.zeros((6, 2))}, r"float64 \[6, 2\]"),
        ({"images": IMAGES, "labels": np.full((6, 2), 2)}, r"int64 \[6, 2\]"),
        ({"images": IMAGES, "labels": np.zeros((6, 2, 2), int)}, r"int64 \[6, 2, 2\]"),
        ({"images": IMAGES, "labels": np.array(3)}, r"int64 \[\]"),
        ({"images": IMAGES / 255, "labels": np.arange(6)}, r"float64 \[6, 5, 7\]"),
        ({"images": IMAGES.astype(np.int64), "labels": np.arange(6)}, r"int64 \[6, 5, 7\]"),
        ({"images": IMAGES > 9, "labels": np.arange(6)}, r"bool \[6, 5, 7\]"),
        ({"images": IMAGES.reshape(6, -1), "labels": np.arange(6)}, r"uint8 \[6, 35\]"),
        ({"images": np.array(1, np.uint8), "labels": np.arange(6)}, r"uint8 \[\]"),
        ({"images": COLOUR[..., :2], "labels": np.arange(6)}, r"uint8 \[6, 5, 7, 2\]"),
        ({"images": COLOUR.transpose(0, 3, 1, 2), "labels": np.arange(6)}, r"uint8 \[6, 3, 5, 7\]"),
        ({"images": COLOUR.astype(np.uint16), "labels": np.arange(6)}, r"uint16 \[6, 5, 7, 3\]"),
        ({"images": IMAGES[:, :0], "labels": np.arange(6)}, r"uint8 \[6, 0, 7\]"),
        ({"images": IMAGES, "labels": np.arange(6), "classes": np.array(["a", "b"])}, "do not fit the class names"),
        ({"images": IMAGES, "labels": -np.arange(6), "classes": np.array(list("abcdef"))}, "do not fit the class"),
        ({"images": IMAGES, "labels": np.array(list("abcdef")), "classes": np.array(["a"])}, "do not fit the class"),
        ({"images": IMAGES, "labels": np.eye(6, 3, dtype=int), "classes": np.array(["a"])}, "do not fit the class"),
        ({"images": IMAGES, "labels": np.arange(6), "classes": np.array("a")}, "class names"),
        ({"images": IMAGES, "labels": np.arange(6), "split": np.array("train")}, "differ in length"),
        ({"images": IMAGES, "labels": np.arange(6), "split": np.array(["train"])}, "differ in length"),
        ({"images": IMAGES, "labels": np.array([b"\xff"] * 6)}, "UTF-8"),
        (
            {"x_a": IMAGES, "y_a": np.eye(6, 3, dtype=int), "x_b": IMAGES, "y_b": np.eye(6, 4, dtype=int)},
            "do not fit",
        ),
        ({"x_a": IMAGES, "y_a": np.eye(6, 3, dtype=int), "x_b": IMAGES, "y_b": np.arange(6)}, "do not fit"),
        (
            {"x_a": IMAGES, "y_a": np.zeros(6, int), "x_b": IMAGES, "y_b": np.array(["a"] * 6), "classes": ["a"]},
            "do not fit",
        ),
    ],
)
def test_arrays_of_another_form_are_refused_with_what_they_are(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as refused:
        npz(tmp_path, **arrays)
    assert str(tmp_path / "data.npz") in str(refused.value)
    assert refused.value.hint


class Bomb:
    """Pickles into a call that leaves a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("place", ["images", "labels", "classes"])
def test_arrays_of_python_objects_are_refused_and_nothing_is_unpickled(tmp_path: Path, place: str) -> None:
    arrays: dict[str, Any] = {"images": IMAGES, "labels": np.arange(6), "classes": np.array(list("abcdef"))}
    arrays[place] = np.array([Bomb(tmp_path / "executed")] * 6, dtype=object)
    with pytest.raises(BadInput, match="cannot be read as npz"):
        npz(tmp_path, **arrays)
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(BadInput, match="cannot be read as npz"):
        load_dataset(f"npz:{tmp_path / 'plain.npz'}")
    assert not (tmp_path / "executed").exists()


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    npy = io.BytesIO()
    np.save(npy, IMAGES)
    for content in (b"", b"no zip", b"PK\x03\x04 nearly", npy.getvalue()):
        file.write_bytes(content)
        with pytest.raises(BadInput, match="cannot be read as npz") as refused:
            load_dataset(f"npz:{file}")
        assert str(file) in str(refused.value)


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images", b"no array")
        archive.writestr("labels", b"no array")
    with pytest.raises(BadInput, match="has the arrays"):
        load_dataset(f"npz:{tmp_path / 'x.npz'}")


def test_other_files_in_the_zip_do_no_harm(tmp_path: Path) -> None:
    npz(tmp_path, images=IMAGES, labels=np.arange(6))
    with zipfile.ZipFile(tmp_path / "data.npz", "a") as archive:
        archive.writestr("readme.txt", b"about the data")
    assert len(load_dataset(f"npz:{tmp_path / 'data.npz'}").split("all")) == 6


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_is_refused_or_read_whole(tmp_path: Path, save: Any) -> None:
    file = tmp_path / "x.npz"
    save(file, images=IMAGES, labels=np.arange(6))
    whole = file.read_bytes()
    rng = np.random.default_rng(1)
    damaged = [whole[:n] for n in (10, len(whole) // 2, len(whole) - 1)]
    for position in rng.integers(0, len(whole), 150):
        damaged.append(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
    refused = 0
    for content in damaged:
        file.write_bytes(content)
        try:
            split = load_dataset(f"npz:{file}").split("all")
            np.testing.assert_array_equal(pixels(split), IMAGES)
        except BadInput:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_rows_of_a_split_are_those_that_numpy_reads(tmp_path: Path, save: Any, order: str) -> None:
    images = RNG.integers(0, 256, (700, 40, 50, 3), np.uint8)  # 4 MB are unpacked at once
    split = RNG.choice(["train", "test", "val"], 700)
    save(tmp_path / "x.npz", images=np.asarray(images, order=order), labels=np.arange(700), split=split)
    data = load_dataset(f"npz:{tmp_path / 'x.npz'}")
    for name in data.splits:
        part = data.split(name)
        np.testing.assert_array_equal(pixels(part), images[split == name])
        np.testing.assert_array_equal(part.labels, np.arange(700)[split == name])


def test_an_npz_that_has_changed_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    split = npz(tmp_path, images=IMAGES, labels=np.arange(6)).split("all")
    npz(tmp_path, images=IMAGES[::-1], labels=np.arange(6))
    with pytest.raises(Conflict, match="changed while it was being read"):
        split.read(0)


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(npy, {"descr": "|u1", "fortran_order": False, "shape": (1 << 50, 1 << 12)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", npy.getvalue())
    with pytest.raises(BadInput, match="cannot be read as npz"):
        load_dataset(f"npz:{tmp_path / 'x.npz'}")


# IDX


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("separator", ["-", "."])
def test_the_two_splits_of_an_idx_folder(tmp_path: Path, separator: str, packed: bool) -> None:
    labels = np.array([7, 3, 7, 0, 3, 7], np.uint8)
    write_idx(tmp_path, IMAGES, labels, "train", separator, packed)
    write_idx(tmp_path, IMAGES[:2], labels[:2], "t10k", separator, packed)
    data = idx(tmp_path)
    assert list(data.splits) == ["train", "test"]
    for name, count in (("train", 6), ("test", 2)):
        split = data.split(name)
        assert split.classes == ("0", "3", "7")
        assert named(split) == [str(label) for label in labels[:count]]
        np.testing.assert_array_equal(pixels(split), IMAGES[:count])
        assert split.describe(1) == "row 1"
    ending = ".gz" if packed else ""
    assert data.split("test").sources == tuple(
        tmp_path / f"t10k-{kind.replace('-', separator)}-ubyte{ending}" for kind in ("images-idx3", "labels-idx1")
    )


def test_one_split_is_enough_and_may_be_called_test(tmp_path: Path) -> None:
    write_idx(tmp_path, IMAGES, np.arange(6, dtype=np.uint8), "test")
    assert list(idx(tmp_path).splits) == ["test"]


def test_colour_images_may_be_kept_as_idx(tmp_path: Path) -> None:
    write_idx(tmp_path, COLOUR, np.arange(6, dtype=np.uint8))
    np.testing.assert_array_equal(pixels(idx(tmp_path).split("train")), COLOUR)


def test_labels_may_be_wider_than_a_byte(tmp_path: Path) -> None:
    write_idx(tmp_path, IMAGES, np.zeros(6, np.uint8))
    labels = np.array([1000, 5, -3, 5, 5, 5], np.int32)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels, 0x0C))
    split = idx(tmp_path).split("train")
    assert named(split) == ["1000", "5", "-3", "5", "5", "5"]
    assert split.classes == ("-3", "5", "1000")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("images-idx3", lambda raw: raw[:-1], r"has 225 bytes where its header promises 226"),
        ("images-idx3", lambda raw: raw + b"\0", r"has 227 bytes where its header promises 226"),
        ("images-idx3", lambda raw: raw[:7], "is not an IDX file"),
        ("images-idx3", lambda raw: b"", "is not an IDX file"),
        ("images-idx3", lambda raw: b"\x89PNG" + raw[4:], "is not an IDX file .magic 89504e47"),
        ("images-idx3", lambda raw: raw[:2] + b"\x42" + raw[3:], "is not an IDX file .magic 00004203"),
        ("images-idx3", lambda raw: b"\0\0\x08\0", "is not an IDX file"),
        ("images-idx3", lambda raw: b"\0\0\x08\x50" + bytes(4 * 0x50), "is not an IDX file"),
        ("images-idx3", lambda raw: gzip.compress(raw)[:-9], "cannot be read"),
        ("images-idx3", lambda raw: gzip.compress(raw)[:-8] + bytes(8), "cannot be read"),
        ("images-idx3", lambda raw: gzip.compress(raw)[:20] + b"?" * 200, "cannot be read"),
        ("images-idx3", lambda raw: b"\x1f\x8b", "cannot be read"),
        ("images-idx3", lambda raw: idx_bytes(IMAGES[:5]), "5 images and 6 labels"),
        ("images-idx3", lambda raw: idx_bytes(np.arange(6, dtype=np.uint8)), r"uint8 \[6\]"),
        ("images-idx3", lambda raw: idx_bytes(IMAGES.astype(np.int16), 0x0B), r">i2 \[6, 5, 7\]|int16 \[6, 5, 7\]"),
        ("labels-idx1", lambda raw: raw[:-1], "has 13 bytes where its header promises 14"),
        ("labels-idx1", lambda raw: idx_bytes(IMAGES), r"labels.*uint8 \[6, 5, 7\]"),
        ("labels-idx1", lambda raw: idx_bytes(np.full(6, 0.5), 0x0E), r"labels.*float64 \[6\]"),
    ],
)
def test_damaged_idx_files_are_refused_by_name(tmp_path: Path, file: str, change: Any, message: str) -> None:
    write_idx(tmp_path, IMAGES, np.arange(6, dtype=np.uint8))
    path = tmp_path / f"train-{file}-ubyte"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BadInput, match=message) as refused:
        idx(tmp_path).split("train")
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(("file", "wanted"), [("images-idx3", "labels"), ("labels-idx1", "images")])
def test_an_idx_file_without_its_companion_is_refused(tmp_path: Path, file: str, wanted: str) -> None:
    write_idx(tmp_path, IMAGES, np.arange(6, dtype=np.uint8))
    (tmp_path / f"train-{'labels-idx1' if wanted == 'labels' else 'images-idx3'}-ubyte").unlink()
    with pytest.raises(BadInput, match=f"train-{file}-ubyte has no companion of {wanted}"):
        idx(tmp_path)


def test_a_folder_without_idx_files_says_which_it_needs(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="train-images-idx3-ubyte"):
        idx(tmp_path)
    with pytest.raises(NotFound, match="no folder"):
        idx(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(NotFound, match="no folder"):
        idx(tmp_path / "file")


@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not on this machine")
def test_fashion_mnist_is_read_as_published() -> None:
    data = idx(FASHION)
    assert list(data.splits) == ["train", "test"]
    for name, prefix, count in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        split = data.split(name)
        assert split.classes == tuple("0123456789")
        assert np.bincount(split.labels).tolist() == [count // 10] * 10
        with gzip.open(FASHION / f"{prefix}-images-idx3-ubyte.gz") as f:
            raw = f.read()
        for i in (0, 17, count - 1):
            expected = np.frombuffer(raw, np.uint8, 784, 16 + 784 * i).reshape(28, 28)
            np.testing.assert_array_equal(np.asarray(split.decode(split.read(i))), expected)


# Digits


def test_digits_are_those_of_scikit_learn_over_the_whole_range_of_grey() -> None:
    data = load_dataset("sklearn:digits")
    split = data.split("all")
    reference = load_digits()
    assert list(data.splits) == ["all"]
    assert len(split) == 1797
    assert split.classes == tuple("0123456789")
    np.testing.assert_array_equal(split.labels, reference.target)
    assert split.labels.dtype == np.int64
    found = np.stack(pixels(split))
    assert found.dtype == np.uint8
    assert found.shape == (1797, 8, 8)
    assert (found.min(), found.max()) == (0, 255)
    np.testing.assert_allclose(found, reference.images * (255 / 16), atol=0.5)
    assert split.sources == ()


# The bytes that stand for an array image


def test_the_same_pixels_have_the_same_id_in_every_container(tmp_path: Path) -> None:
    labels = np.arange(6, dtype=np.uint8)
    write_idx(tmp_path / "plain", IMAGES, labels)
    write_idx(tmp_path / "packed", IMAGES, labels, packed=True)
    (tmp_path / "wide").mkdir()
    splits = [
        npz(tmp_path, images=IMAGES, labels=labels).split("all"),
        npz(tmp_path / "wide", images=np.asfortranarray(IMAGES)[..., None], labels=labels).split("all"),
        idx(tmp_path / "plain").split("train"),
        idx(tmp_path / "packed").split("train"),
    ]
    assert len(set(ids(splits[0]))) == 6
    assert all(ids(split) == ids(splits[0]) for split in splits)


def test_the_bytes_of_an_array_image_are_fixed() -> None:
    # Sample ids of published sets depend on them.
    assert encode_pixels(np.array([[1, 2, 3]], np.uint8)) == b'{"dtype":"uint8","shape":[1,3]}\n\x01\x02\x03'
    deep = encode_pixels(np.array([[1]], ">u2"))
    assert deep == b'{"dtype":"uint16","scale":"1/257","shape":[1,1]}\n\x01\x00'


def test_equal_bytes_in_another_shape_or_type_are_other_samples() -> None:
    raw = np.arange(12, dtype=np.uint8)
    forms = [
        raw.reshape(3, 4),
        raw.reshape(4, 3),
        raw.reshape(2, 2, 3),
        raw.reshape(2, 6),
        raw.view("<u2").reshape(2, 3),
    ]
    assert len({encode_pixels(form) for form in forms}) == len(forms)


SIDES = st.integers(1, 9)
ARRAYS = st.one_of(
    hnp.arrays(np.uint8, st.tuples(SIDES, SIDES)),
    hnp.arrays(np.uint8, st.tuples(SIDES, SIDES, st.sampled_from([1, 3, 4]))),
    hnp.arrays(np.dtype("<u2"), st.tuples(SIDES, SIDES)),
    hnp.arrays(np.dtype(">u2"), st.tuples(SIDES, SIDES)),
)


@settings(max_examples=200, deadline=None)
@given(ARRAYS, st.booleans())
def test_pixels_survive_encoding_whatever_their_layout_in_memory(array: npt.NDArray[Any], reverse: bool) -> None:
    view = array[::-1, ::-1] if reverse else np.asfortranarray(array)
    image = decode_pixels(encode_pixels(view))
    expected = view[..., 0] if view.ndim == 3 and view.shape[2] == 1 else view
    assert image.mode == MODES[expected.shape[2] if expected.ndim == 3 else 1]
    if array.dtype.itemsize == 2:
        np.testing.assert_array_equal(np.asarray(image), np.rint(expected / 257))
    else:
        np.testing.assert_array_equal(np.asarray(image), expected)
        assert encode_pixels(np.asarray(image)) == encode_pixels(view)


@settings(max_examples=100, deadline=None)
@given(ARRAYS, ARRAYS)
def test_different_pixels_have_different_bytes(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> None:
    def plain(array: npt.NDArray[Any]) -> tuple[int, tuple[int, ...], list[int]]:
        shape = array.shape[:2] if array.shape[2:] == (1,) else array.shape
        return array.dtype.itemsize, shape, array.ravel().tolist()

    assert (encode_pixels(one) == encode_pixels(other)) == (plain(one) == plain(other))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_onehot_npz(tmp_path: Path, dtype: type) -> None:
    """Flags of which each row of each split has exactly one are single labels, and a note says so."""
    y = np.array([0, 2, 1, 2, 0, 2])
    one_hot = np.eye(4)[y].astype(dtype)
    data = npz(tmp_path, x_train=IMAGES[:4], y_train=one_hot[:4], x_test=IMAGES[4:], y_test=one_hot[4:])
    assert data.split("train").labels.tolist() == [0, 2, 1, 2]
    assert data.split("test").labels.tolist() == [0, 2]
    assert data.split("test").classes == ("0", "1", "2", "3")
    about, note = data.notes()
    assert about == (
        "Arrays: x_train, y_train, x_test, y_test. 2 splits (train 4, test 2). 4 classes, named by the labels"
    )
    assert "every row has one flag of 4" in note
    named = npz(tmp_path, images=IMAGES, labels=one_hot, classes=list("abcd"))
    assert (named.split("all").classes, named.split("all").labels.tolist()) == (tuple("abcd"), y.tolist())
    with pytest.raises(BadInput, match="do not fit the class names"):
        npz(tmp_path, images=IMAGES, labels=one_hot, classes=list("abc"))
    # One row with two flags in one split, and all of them are flags.
    one_hot[5, 0] = 1
    several = npz(tmp_path, x_train=IMAGES[:4], y_train=one_hot[:4], x_test=IMAGES[4:], y_test=one_hot[4:])
    assert several.split("train").labels.shape == (4, 4)
    assert len(several.notes()) == 1


def test_integer_labels_tell_classes_of_one_name_apart_and_names_do_not(tmp_path: Path) -> None:
    names = ["crane", "dog", "crane"]
    split = npz(tmp_path, images=IMAGES[:3], labels=np.array([0, 1, 2]), classes=names).split("all")
    assert split.classes == tuple(names)
    assert split.labels.tolist() == [0, 1, 2]
    with pytest.raises(BadInput, match="several classes are called 'crane'"):
        npz(tmp_path, images=IMAGES[:3], labels=np.array(names), classes=names)


def test_a_label_that_often_stands_for_none_is_noted(tmp_path: Path) -> None:
    """-1 beside 0, 1 … is what data sets write for rows without a label; beside 1 alone it is a class."""
    data = npz(tmp_path, images=IMAGES, labels=np.array([0, 1, -1, 2, -1, 0]))
    _, note = data.notes()
    assert "-1, the label of 2 rows, is read as a class" in note
    assert len(npz(tmp_path, images=IMAGES, labels=np.array([1, -1, -1, 1, -1, 1])).notes()) == 1
    assert len(npz(tmp_path, images=IMAGES, labels=np.array(list("abcaba"))).notes()) == 1


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_booleans_are_two_classes_even_if_one_does_not_occur(tmp_path: Path, shape: tuple[int, ...]) -> None:
    flags = np.array([True, False, True, True, False, True])
    split = npz(tmp_path, images=IMAGES, labels=flags.reshape(shape)).split("all")
    assert (split.classes, split.labels.tolist()) == (("false", "true"), [1, 0, 1, 1, 0, 1])
    same = npz(tmp_path, images=IMAGES, labels=np.ones(shape, bool)).split("all")
    assert (same.classes, same.labels.tolist()) == (("false", "true"), [1] * 6)
    named_ = npz(tmp_path, images=IMAGES, labels=flags.reshape(shape), classes=["no", "yes"]).split("all")
    assert named(named_) == ["yes" if flag else "no" for flag in flags]


def test_floats_are_classes_only_if_all_are_whole_numbers(tmp_path: Path) -> None:
    data = npz(tmp_path, images=IMAGES, labels=np.array([3.0, 0, 10, 3, 0, 3], np.float32))
    assert (data.split("all").classes, data.split("all").labels.tolist()) == (("0", "3", "10"), [1, 0, 2, 1, 0, 1])
    assert any("the labels are floats, all of them whole numbers" in note for note in data.notes())
    for value, hint in ((0.5, r"np\.digitize"), (np.inf, r"np\.digitize"), (np.nan, "Leave out the rows")):
        with pytest.raises(BadInput, match=rf"(?s)float64 \[6\], and one is {value:g}: not a class.*{hint}"):
            npz(tmp_path, images=IMAGES, labels=np.array([1.0, value, 2, 1, 2, 1]))


def test_what_an_npz_holds_beside_is_said(tmp_path: Path) -> None:
    data = npz(tmp_path, images=IMAGES, labels=np.arange(6) % 2, classes=["a", "b"], ids=np.arange(6))
    assert list(data.notes()) == [
        "Arrays: images, labels, classes. 1 split (all 6). 2 classes, named by classes. Not used: ids"
    ]
