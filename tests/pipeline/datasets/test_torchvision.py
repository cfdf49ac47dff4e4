import bz2
import gzip
import hashlib
import inspect
import json
import os
import pickle
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torchvision.datasets
from PIL import Image

from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.datasets import Dataset, Split, load_dataset
from cryoprobe.pipeline.datasets.base import UndecodableImage
from cryoprobe.pipeline.datasets.torchvision_sets import SPLITS
from cryoprobe.stores.local.looks import fingerprint

NOT_CLASSIFICATION = {
    "bases, and what folder: reads": {
        "VisionDataset",
        "DatasetFolder",
        "ImageFolder",
        "wrap_dataset_for_transforms_v2",
    },
    "detection": {"CocoDetection", "Kitti", "VOCDetection", "WIDERFace"},
    "segmentation": {"Cityscapes", "SBDataset", "VOCSegmentation"},
    "captions": {"CocoCaptions", "Flickr30k", "Flickr8k", "SBU"},
    "pairs and patches": {"LFWPairs", "PhotoTour"},
    "optical flow": {"FlyingChairs", "FlyingThings3D", "HD1K", "KittiFlow", "Sintel"},
    "stereo": {
        "CREStereo",
        "CarlaStereo",
        "ETH3DStereo",
        "FallingThingsStereo",
        "InStereo2k",
        "Kitti2012Stereo",
        "Kitti2015Stereo",
        "Middlebury2014Stereo",
        "SceneFlowStereo",
        "SintelStereo",
    },
    "video": {"HMDB51", "Kinetics", "MovingMNIST", "UCF101"},
    "one class without labels, a part of LSUN": {"LSUNClass"},
}


class Maker:
    """Writes images that are all different."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rng = np.random.default_rng(0)

    def image(self, path: str, mode: str = "RGB", **options: Any) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(self.rng.integers(0, 256, (10, 12, 3), np.uint8)).convert(mode)
        image.save(file, "PNG" if mode == "1" else None, **options)

    def text(self, path: str, content: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(content)

    def raw(self, path: str, content: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)

    def pixels(self, *shape: int) -> Any:
        return self.rng.integers(0, 256, shape, np.uint8)


def dtd(make: Maker) -> None:
    for split, names in {"train": "31", "val": "4", "test": "25"}.items():
        lines = [f"{c}/{c}_{n}.jpg" for n in names for c in ("zigzagged", "banded")]
        make.text(f"dtd/dtd/labels/{split}1.txt", "\n".join(lines) + "\n")
        for line in lines:
            make.image(f"dtd/dtd/images/{line}")


def eurosat(make: Maker) -> None:
    for name in ("River/River_2", "Forest/Forest_10", "Forest/Forest_9", "River/River_1"):
        make.image(f"eurosat/2750/{name}.jpg")


def food101(make: Maker) -> None:
    for split, numbers in {"train": (9, 10, 1), "test": (7,)}.items():
        lists = {c: [f"{c}/{i}" for i in numbers] for c in ("waffles", "apple_pie")}
        make.text(f"food-101/meta/{split}.json", json.dumps(lists))
        for names in lists.values():
            for name in names:
                make.image(f"food-101/images/{name}.jpg")


def gtsrb(make: Maker) -> None:
    for c in (0, 1, 2):
        for i in range(2):
            make.image(f"gtsrb/GTSRB/Training/{c:05d}/0000{i}_00000.ppm")
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for i, c in enumerate((2, 0, 1, 2)):
        make.image(f"gtsrb/GTSRB/Final_Test/Images/{i:05d}.ppm")
        rows.append(f"{i:05d}.ppm;12;10;0;0;9;9;{c}")
    make.text("gtsrb/GT-final_test.csv", "\n".join(rows) + "\n")


def country211(make: Maker) -> None:
    for split in ("train", "valid", "test"):
        for name in ("DE/2", "AD/1", "DE/1"):
            make.image(f"country211/{split}/{name}.jpg")


def rendered_sst2(make: Maker) -> None:
    for split in ("train", "valid", "test"):
        for name in ("positive/1", "negative/2", "negative/10"):
            make.image(f"rendered-sst2/{split}/{name}.png")


def imagenette(make: Maker) -> None:
    for split in ("train", "val"):
        for name in ("n02102040/n02102040_7", "n01440764/ILSVRC2012_val_1", "n01440764/n01440764_3"):
            make.image(f"imagenette2/{split}/{name}.JPEG", "RGB" if split == "val" else "L")


def caltech101(make: Maker) -> None:
    for name in ("dollar_bill/image_0001", "dollar_bill/image_0002", "ant/image_0001", "BACKGROUND_Google/image_0001"):
        make.image(f"caltech101/101_ObjectCategories/{name}.jpg", "L" if "ant" in name else "RGB")


def caltech256(make: Maker) -> None:
    for name in ("001.ak47/001_0001", "002.american-flag/002_0001", "002.american-flag/002_0002"):
        make.image(f"caltech256/256_ObjectCategories/{name}.jpg")


def inaturalist(make: Maker) -> None:
    species = ("00000_Animalia_A_B_C_D_E_f", "00001_Plantae_G_H_I_J_K_l")
    for version in ("2021_train", "2021_valid"):
        for name in (f"{species[1]}/zz", f"{species[0]}/b", f"{species[0]}/a", f"{species[1]}/aa"):
            make.image(f"{version}/{name}.jpg")


def omniglot(make: Maker) -> None:
    for part in ("images_background", "images_evaluation"):
        make.raw(f"omniglot-py/{part}.zip", b"")
        for name in ("Tagalog/character02/2", "Tagalog/character01/1", "Greek/character01/9", "Greek/character01/10"):
            make.image(f"omniglot-py/{part}/{name}.png", "1")


def lfw_people(make: Maker) -> None:
    make.raw("lfw-py/lfw-funneled.tgz", b"")
    make.text("lfw-py/lfw-names.txt", "Ann_Lee\t1\nBo_Ek\t3\nCy_Ito\t2\n")
    make.text("lfw-py/peopleDevTrain.txt", "2\nBo_Ek\t3\nAnn_Lee\t1\n")
    make.text("lfw-py/peopleDevTest.txt", "1\nCy_Ito\t2\n")
    for name, count in (("Ann_Lee", 1), ("Bo_Ek", 3), ("Cy_Ito", 2)):
        for i in range(count):
            make.image(f"lfw-py/lfw_funneled/{name}/{name}_{i + 1:04d}.jpg")


def flowers102(make: Maker) -> None:
    for i in range(1, 7):
        make.image(f"flowers-102/jpg/image_{i:05d}.jpg")
    scipy.io.savemat(make.root / "flowers-102" / "imagelabels.mat", {"labels": np.array([[77, 1, 77, 102, 1, 3]])})
    ids = {"trnid": np.array([[5, 1]]), "valid": np.array([[2, 4]]), "tstid": np.array([[6, 3]])}
    scipy.io.savemat(make.root / "flowers-102" / "setid.mat", ids)


def celeba(make: Maker) -> None:
    names = [f"{i:06d}.jpg" for i in range(1, 7)]
    for name in names:
        make.image(f"celeba/img_align_celeba/{name}")
    rows = dict(zip(names, ("1 -1 1", "-1 -1 -1", "1 1 1", "-1 1 -1", "1 -1 -1", "-1 -1 1"), strict=True))
    attributes = "".join(f"{n} {r}\n" for n, r in rows.items())
    make.text("celeba/list_attr_celeba.txt", f"6\nBald Smiling Young \n{attributes}")
    make.text("celeba/list_eval_partition.txt", "".join(f"{n} {i // 2}\n" for i, n in enumerate(names)))
    make.text("celeba/identity_CelebA.txt", "".join(f"{n} {i}\n" for i, n in enumerate(names)))
    boxes = "".join(f"{n} 1 2 3 4\n" for n in names)
    make.text("celeba/list_bbox_celeba.txt", f"6\nimage_id x_1 y_1 width height\n{boxes}")
    make.text("celeba/list_landmarks_align_celeba.txt", f"6\na b c d\n{boxes}")


def idx(array: Any) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


def mnist_like(folder: str, prefixes: Sequence[str] = ("train-", "t10k-"), shift: int = 0) -> Callable[[Maker], None]:
    def write(make: Maker) -> None:
        for prefix, count in zip(prefixes, (7, 3), strict=True):
            labels = (np.arange(count) * 3 % 10 + shift).astype(np.uint8)
            make.raw(f"{folder}/raw/{prefix}images-idx3-ubyte", idx(make.pixels(count, 28, 28)))
            make.raw(f"{folder}/raw/{prefix}labels-idx1-ubyte", idx(labels))

    return write


def cifar10(make: Maker) -> None:
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        batch = {"data": make.pixels(2, 3072), "labels": [i, (i + 3) % 10]}
        make.raw(f"cifar-10-batches-py/{name}", pickle.dumps(batch))
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    make.raw("cifar-10-batches-py/batches.meta", pickle.dumps({"label_names": names}))


def usps(make: Maker) -> None:
    for name, count in (("usps.bz2", 5), ("usps.t.bz2", 3)):
        rows = make.rng.uniform(-1, 1, (count, 256))
        lines = [f"{i % 3 + 1} " + " ".join(f"{j + 1}:{v:.4f}" for j, v in enumerate(r)) for i, r in enumerate(rows)]
        make.raw(name, bz2.compress("\n".join(lines).encode()))


def svhn(make: Maker) -> None:
    for split, labels in (("train", [10, 1, 2, 9]), ("test", [3, 10])):
        images = make.pixels(32, 32, 3, len(labels))
        scipy.io.savemat(make.root / f"{split}_32x32.mat", {"X": images, "y": np.array(labels)[:, None]})


def stl10(make: Maker) -> None:
    names = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
    make.text("stl10_binary/class_names.txt", "\n".join(names) + "\n")
    for split, labels in (("train", [10, 1, 4]), ("test", [2, 2])):
        make.raw(f"stl10_binary/{split}_X.bin", make.pixels(len(labels), 3, 96, 96).tobytes())
        make.raw(f"stl10_binary/{split}_y.bin", bytes(labels))
    make.raw("stl10_binary/unlabeled_X.bin", b"")


def semeion(make: Maker) -> None:
    rows = [[*make.rng.integers(0, 2, 256), *np.eye(10, dtype=int)[i * 3 % 10]] for i in range(5)]
    make.text("semeion.data", "\n".join(" ".join(f"{v:.4f}" for v in row) for row in rows) + "\n")


def fer2013(make: Maker) -> None:
    rows = [("Training", 0), ("Training", 3), ("PublicTest", 6), ("PrivateTest", 1)]
    lines = [f'{c},"{" ".join(map(str, make.pixels(2304)))}",{use}' for use, c in rows]
    make.text("fer2013/fer2013.csv", "emotion,pixels,Usage\n" + "\n".join(lines) + "\n")


@dataclass
class Case:
    """A tiny data set in torchvision's own format, and what is known of it."""

    make: Callable[[Maker], None]
    counts: dict[str, int]
    classes: tuple[str, ...]
    files: bool
    numbered_by_the_file_system: bool = field(default=False)


TENS = tuple("0123456789")
CASES = {
    "DTD": Case(dtd, {"train": 4, "val": 2, "test": 4}, ("banded", "zigzagged"), True),
    "EuroSAT": Case(eurosat, {"all": 4}, ("Forest", "River"), True),
    "Food101": Case(food101, {"train": 6, "test": 2}, ("apple_pie", "waffles"), True),
    "GTSRB": Case(gtsrb, {"train": 6, "test": 4}, tuple(map(str, range(43))), True),
    "Country211": Case(country211, {"train": 3, "valid": 3, "test": 3}, ("AD", "DE"), True),
    "RenderedSST2": Case(rendered_sst2, {"train": 3, "val": 3, "test": 3}, ("negative", "positive"), True),
    "Imagenette": Case(imagenette, {"train": 3, "val": 3}, ("tench", "English springer"), True),
    "Caltech101": Case(caltech101, {"all": 3}, ("ant", "dollar_bill"), True),
    "Caltech256": Case(caltech256, {"all": 3}, ("001.ak47", "002.american-flag"), True),
    "INaturalist": Case(
        inaturalist, {"train": 4, "val": 4}, ("00000_Animalia_A_B_C_D_E_f", "00001_Plantae_G_H_I_J_K_l"), True
    ),
    "Omniglot": Case(
        omniglot,
        {"background": 4, "evaluation": 4},
        ("Greek/character01", "Tagalog/character01", "Tagalog/character02"),
        True,
        numbered_by_the_file_system=True,
    ),
    "LFWPeople": Case(lfw_people, {"train": 4, "test": 2}, ("Ann_Lee", "Bo_Ek", "Cy_Ito"), True),
    "Flowers102": Case(
        flowers102, {"train": 2, "val": 2, "test": 2}, tuple(torchvision.datasets.Flowers102.classes), True
    ),
    "CelebA": Case(celeba, {"train": 2, "valid": 2, "test": 2}, ("Bald", "Smiling", "Young"), True),
    "MNIST": Case(mnist_like("MNIST"), {"train": 7, "test": 3}, tuple(torchvision.datasets.MNIST.classes), False),
    "FashionMNIST": Case(
        mnist_like("FashionMNIST"), {"train": 7, "test": 3}, tuple(torchvision.datasets.FashionMNIST.classes), False
    ),
    "EMNIST/letters": Case(
        mnist_like("EMNIST", ("emnist-letters-train-", "emnist-letters-test-"), shift=1),
        {"train": 7, "test": 3},
        ("N/A", *"abcdefghijklmnopqrstuvwxyz"),
        False,
    ),
    "CIFAR10": Case(
        cifar10,
        {"train": 10, "test": 2},
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        False,
    ),
    "USPS": Case(usps, {"train": 5, "test": 3}, TENS, False),
    "SVHN": Case(svhn, {"train": 4, "test": 2}, TENS, False),
    "STL10": Case(
        stl10,
        {"train": 3, "test": 2},
        ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
        False,
    ),
    "SEMEION": Case(semeion, {"all": 5}, TENS, False),
    "FER2013": Case(fer2013, {"train": 2, "test": 2}, TENS[:7], False),
}


@pytest.fixture(autouse=True)
def any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision take our tiny files for the published ones."""
    monkeypatch.setattr("torchvision.datasets.utils.check_md5", lambda *_, **__: True)


def opened(name: str, root: Path) -> Dataset:
    return load_dataset(f"torchvision:{name}", data_root=root)


def original(name: str, split: str, root: Path) -> Any:
    arguments = dict(SPLITS[name][split])
    factory = getattr(torchvision.datasets, name.partition("/")[0])
    if "download" in inspect.signature(factory).parameters:
        arguments["download"] = False
    return factory(root=str(root), **arguments)


def look(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.size}".encode() + image.convert("RGB").tobytes()).hexdigest()


def ours(split: Split) -> list[tuple[str, Any]]:
    return [(look(split.decode(split.read(i))), np.asarray(split.labels[i]).tolist()) for i in range(len(split))]


# The list


def test_every_classification_data_set_of_torchvision_is_known() -> None:
    known = {name.partition("/")[0] for name in SPLITS}
    others = set().union(*NOT_CLASSIFICATION.values())
    assert known.isdisjoint(others)
    assert known | others >= set(torchvision.datasets.__all__)
    assert known <= set(torchvision.datasets.__all__)


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_is_asked_for_with_arguments_that_torchvision_has(name: str) -> None:
    factory = getattr(torchvision.datasets, name.partition("/")[0])
    for options in SPLITS[name].values():
        assert set(inspect.signature(factory).bind_partial(**options).arguments) <= {*options, "kwargs"}


# What is read


@pytest.mark.parametrize("name", CASES)
def test_images_labels_and_classes_are_those_that_torchvision_returns(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    case.make(Maker(tmp_path))
    data = opened(name, tmp_path)
    assert data.name == f"torchvision:{name}"
    assert set(data.splits) == set(case.counts)
    for part, count in case.counts.items():
        split, reference = data.split(part), original(name, part, tmp_path)
        assert split.name == part
        assert len(split) == len(reference) == count
        found = ours(split)
        expected = [(look(image), np.asarray(label).tolist()) for image, label in reference]
        if case.files:
            found, expected = sorted(found), sorted(expected)
        if case.numbered_by_the_file_system:
            found, expected = ([image for image, _ in samples] for samples in (found, expected))
        assert found == expected


@pytest.mark.parametrize("name", CASES)
def test_class_names_are_kept_and_are_the_same_for_every_split(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    case.make(Maker(tmp_path))
    data = opened(name, tmp_path)
    for part in case.counts:
        assert data.split(part).classes == case.classes


@pytest.mark.parametrize("name", CASES)
def test_samples_are_files_where_the_data_set_is_made_of_files(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    case.make(Maker(tmp_path))
    data = opened(name, tmp_path)
    for part, count in case.counts.items():
        split = data.split(part)
        paths = [split.path(i) for i in range(count)]
        if not case.files:
            assert paths == [None] * count
            assert split.describe(1) == "row 1"
            assert split.sources
            continue
        assert paths == sorted(paths, key=lambda p: os.fsencode(p or ""))
        assert set(paths) <= set(split.sources)
        for i, path in enumerate(paths):
            assert path is not None
            assert split.read(i) == path.read_bytes()
            assert path.match(f"*/{split.describe(i)}")


def test_attributes_are_multi_label(tmp_path: Path) -> None:
    celeba(Maker(tmp_path))
    split = opened("CelebA", tmp_path).split("train")
    assert split.labels.dtype == np.uint8
    assert split.labels.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_characters_are_numbered_by_name_though_torchvision_goes_by_the_file_system(tmp_path: Path) -> None:
    omniglot(Maker(tmp_path))
    split = opened("Omniglot", tmp_path).split("background")
    named = {split.describe(i).partition("/")[2]: split.classes[split.labels[i]] for i in range(4)}
    assert named == {
        "Greek/character01/10.png": "Greek/character01",
        "Greek/character01/9.png": "Greek/character01",
        "Tagalog/character01/1.png": "Tagalog/character01",
        "Tagalog/character02/2.png": "Tagalog/character02",
    }
    assert list(split.classes) == sorted(split.classes)


def test_a_made_up_data_set_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.FakeData.__init__, "__defaults__", (12, (3, 8, 8), 10, None, None, 0))
    split = opened("FakeData", tmp_path / "absent").split("all")
    reference = torchvision.datasets.FakeData(12, (3, 8, 8))
    assert len(split) == 12
    assert split.sources == ()
    assert ours(split) == [(look(image), int(label)) for image, label in reference]


def test_the_same_array_read_by_torchvision_and_as_idx_has_the_same_ids(tmp_path: Path) -> None:
    mnist_like("MNIST")(Maker(tmp_path))
    one, other = opened("MNIST", tmp_path).split("train"), load_dataset(f"idx:{tmp_path}/MNIST/raw").split("train")
    assert [one.read(i) for i in range(7)] == [other.read(i) for i in range(7)]


@pytest.mark.parametrize("name", ["DTD", "EuroSAT", "Food101", "INaturalist", "Omniglot", "CelebA"])
def test_a_damaged_image_is_a_sample_like_any_other_until_it_is_decoded(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    case.make(Maker(tmp_path))
    part = next(iter(case.counts))
    before = opened(name, tmp_path).split(part)
    first = before.path(0)
    assert first is not None
    first.write_bytes(first.read_bytes()[:40])
    after = opened(name, tmp_path).split(part)
    assert after.path(0) == first
    assert after.labels.tolist() == before.labels.tolist()
    with pytest.raises(UndecodableImage, match=r"^(cannot be decoded|is not an image)"):
        after.decode(after.read(0))


def test_a_part_without_labels_is_refused(tmp_path: Path) -> None:
    pixels = " ".join(["7"] * 2304)
    (tmp_path / "fer2013").mkdir()
    (tmp_path / "fer2013" / "test.csv").write_text(f'pixels\n"{pixels}"\n')
    with pytest.raises(BadInput, match="has no labels"):
        opened("FER2013", tmp_path).split("test")


def test_a_change_of_the_data_changes_the_fingerprint(tmp_path: Path) -> None:
    dtd(Maker(tmp_path))
    mnist_like("MNIST")(Maker(tmp_path))
    for name, file in (("DTD", "dtd/dtd/images/banded/banded_3.jpg"), ("MNIST", "MNIST/raw/train-labels-idx1-ubyte")):
        sources = opened(name, tmp_path).split("train").sources
        before = fingerprint(sources)
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes() + b"\0")
        assert fingerprint(sources) != before


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "STL10"])
def test_another_data_set_in_the_same_folder_is_no_change_of_this_one(tmp_path: Path, name: str) -> None:
    CASES[name].make(Maker(tmp_path))
    before = fingerprint(opened(name, tmp_path).split("train").sources)
    eurosat(Maker(tmp_path))
    usps(Maker(tmp_path))
    assert fingerprint(opened(name, tmp_path).split("train").sources) == before


# What is not there


@pytest.mark.parametrize("name", [name for name in SPLITS if name not in ("FakeData", "LSUN")])
def test_data_that_are_not_there_are_not_found_and_the_message_has_the_way_out(tmp_path: Path, name: str) -> None:
    for part in SPLITS[name]:
        with pytest.raises((NotFound, BadInput)) as missing:
            opened(name, tmp_path).split(part)
        if isinstance(missing.value, BadInput):
            assert "pip install" in str(missing.value)  # scipy, h5py
            continue
        assert str(tmp_path) in str(missing.value)
        assert "--data-root" in str(missing.value)
        assert "--download" in str(missing.value)
        assert missing.value.key == name


@pytest.mark.parametrize("name", ["ImageNet", "StanfordCars", "LFWPeople", "FER2013"])
def test_what_torchvision_cannot_download_is_said_to_be_so(tmp_path: Path, name: str) -> None:
    for download in (False, True):
        with pytest.raises(NotFound, match="torchvision cannot download it"):
            load_dataset(f"torchvision:{name}", data_root=tmp_path, download=download).split("train")


def test_a_download_that_fails_says_where_to_put_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr("torchvision.datasets.utils.urllib.request.urlopen", unreachable)
    with pytest.raises(NotFound, match="The download failed") as missing:
        load_dataset("torchvision:USPS", data_root=tmp_path / "new", download=True).split("train")
    assert str(tmp_path / "new") in str(missing.value)


def test_a_file_cut_short_is_an_error_that_names_the_data_set(tmp_path: Path) -> None:
    mnist_like("MNIST")(Maker(tmp_path))
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(NotFound, match="torchvision cannot open MNIST"):
        opened("MNIST", tmp_path).split("train")


def test_only_the_split_that_is_asked_for_needs_to_be_there(tmp_path: Path) -> None:
    usps(Maker(tmp_path))
    (tmp_path / "usps.t.bz2").unlink()
    data = opened("USPS", tmp_path)
    assert len(data.split("train")) == 5
    with pytest.raises(NotFound):
        data.split("test")


@pytest.mark.parametrize(
    ("wrong", "suggestion"),
    [
        ("cifar10", "CIFAR10"),
        ("CIFAR-10", "CIFAR10"),
        ("mnist", "MNIST"),
        ("fashion_mnist", "FashionMNIST"),
        ("EMNIST", "EMNIST/letters"),
        ("Flowers", "Flowers102"),
        ("Caltech", "Caltech256"),
        ("iNaturalst", "INaturalist"),
        ("food-101", "Food101"),
    ],
)
def test_a_misspelt_name_is_met_with_the_right_one(tmp_path: Path, wrong: str, suggestion: str) -> None:
    with pytest.raises(NotFound, match="no classification data set") as missing:
        opened(wrong, tmp_path)
    assert missing.value.hint is not None
    assert "Did you mean" in missing.value.hint
    assert suggestion in missing.value.hint


@pytest.mark.parametrize("wrong", ["CocoDetection", "ImageFolder", "VisionDataset", "utils", "qqqq", "-"])
def test_what_is_no_classification_data_set_is_not_found(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(NotFound, match="cryoprobe datasets"):
        opened(wrong, tmp_path)


def test_gzipped_originals_alone_are_not_enough_and_idx_reads_them(tmp_path: Path) -> None:
    mnist_like("MNIST")(Maker(tmp_path))
    for file in list((tmp_path / "MNIST" / "raw").iterdir()):
        file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    with pytest.raises(NotFound):
        opened("MNIST", tmp_path).split("train")
    assert len(load_dataset(f"idx:{tmp_path}/MNIST/raw").split("train")) == 7
