"""Encoders and data sets of one's own: found by name, never stale, and refused with what to do if they are none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests_support import write_images
from torchvision.transforms import v2

import cryoprobe
from cryoprobe.pipeline.encoders.own import Encoder

PREPROCESS = v2.Compose([v2.RGB(), v2.Resize((8, 8)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])


class Attending(torch.nn.Module):
    """Has a setting that no weight shows, and a buffer that is not saved."""

    hidden: torch.Tensor

    def __init__(self, heads: int = 2, shift: float = 0.0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(192, 12)
        self.heads = heads
        self.register_buffer("hidden", torch.full((1,), shift), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x.flatten(1)) * self.heads + self.hidden
        return found


def attending(**settings: Any) -> Attending:
    torch.manual_seed(0)
    return Attending(**settings)


def made(module: Any = None, preprocess: Any = PREPROCESS, **more: Any) -> Encoder:
    return Encoder(attending() if module is None else module, preprocess, **{"name": "lab:a", "version": "1", **more})


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image.convert("RGB").resize((8, 8)), np.float32)).permute(2, 0, 1) / 255


def average(batch: torch.Tensor) -> torch.Tensor:
    return batch.mean((2, 3))


def identity(encoder: Encoder) -> str:
    return encoder.spec("embedding").id


def changed(key: str) -> Attending:
    module = attending()
    with torch.no_grad():
        module.state_dict()[key][0] += 1e-3
    return module


OTHER: dict[str, Callable[[], Encoder]] = {
    "a weight": lambda: made(changed("layer.bias")),
    "a setting that no weight shows": lambda: made(attending(heads=4)),
    "a buffer that is not saved": lambda: made(attending(shift=0.5)),
    "the precision": lambda: made(attending().half()),
    "another module": lambda: made(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 12))),
    "the version": lambda: made(version="2"),
    "a setting of the preprocessing": lambda: made(preprocess=v2.Compose([v2.Resize((8, 8)), v2.PILToTensor()])),
    "another preprocessing": lambda: made(preprocess=pixels),
    "a function": lambda: made(average),
}


@pytest.mark.parametrize("change", OTHER)
def test_what_can_change_its_numbers_makes_another_encoder(change: str) -> None:
    assert identity(OTHER[change]()) != identity(made())


def test_what_cannot_change_them_makes_the_same_one() -> None:
    again = made(attending().train(), name="another name", device="cpu")
    assert identity(again) == identity(made())
    assert "id " + identity(again)[:12] in repr(again)


def test_without_a_version_the_sources_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    text = "def prepared(image):\n    import torch\n    return torch.zeros(3, 8, 8){}\n"
    found = []
    for more in ("", " + 1", ""):
        (tmp_path / "labcode.py").write_text(text.format(more))
        sys.modules.pop("labcode", None)
        import labcode  # type: ignore[import-not-found]

        found.append(identity(made(torch.nn.Flatten(), labcode.prepared, version=None)))
    assert found[0] == found[2] != found[1]
    assert identity(made(torch.nn.Flatten(), labcode.prepared)) not in found
    sys.modules.pop("labcode", None)


@pytest.mark.parametrize("preprocess", [lambda image: pixels(image), (lambda k: lambda image: pixels(image) * k)(2)])
def test_code_that_cannot_be_seen_needs_a_version(preprocess: Any) -> None:
    with pytest.raises(cryoprobe.BadInput, match="could not be seen") as refused:
        made(preprocess=preprocess, version=None)
    assert "version='1'" in str(refused.value.hint)
    assert identity(made(preprocess=preprocess)) != identity(made(preprocess=preprocess, version="2"))


def test_it_is_extracted_once_and_found_by_its_name(store: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_images(tmp_path / "data" / split, {"a": 4, "b": 4}, seed=len(split))
    data = f"folder:{tmp_path / 'data'}"
    first, second = (cryoprobe.extract(made(), data, store, splits=["train", "test"]) for _ in range(2))
    assert [done.encoded for done in (*first, *second)] == [8, 8, 0, 0]
    assert cryoprobe.probe(store, model="lab:a", dataset=data, probe="nearest-mean")["metrics"]["top1"] > 0.5
    x, _ = cryoprobe.open_store(store).open(first[0].set).load(raw=True)
    images = [PREPROCESS(Image.open(p)) for p in sorted((tmp_path / "data" / "train").rglob("*.png"))]
    with torch.inference_mode():
        np.testing.assert_allclose(x, attending()(torch.stack(images)).numpy(), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("module", "more", "said"),
    [
        (7, {}, "module is a int, which cannot be called"),
        (None, {"preprocess": "resize"}, "preprocess is a str, which cannot be called"),
        (None, {"name": ""}, "is no name for an encoder"),
        (None, {"name": "timm:mine"}, "would be taken for one of timm's encoders"),
        (None, {"version": 1}, "version is a text"),
        (None, {"device": "abacus"}, "cannot be used"),
    ],
)
def test_what_is_no_encoder_is_refused(module: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(cryoprobe.BadInput, match=said):
        made(module, **more)


def test_weights_that_hold_nan_are_refused() -> None:
    module = attending()
    with torch.no_grad():
        module.layer.weight[0, 0] = torch.nan
    with pytest.raises(cryoprobe.BadInput, match=r"NaN in 1 of .*layer\.weight"):
        made(module)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (torch.nn.Identity(), r"returns shape \(4, 3, 8, 8\) for 4 images"),
        (lambda x: {"embedding": x}, "returns dict for 4 images"),
        (lambda x: x.mean((0, 2, 3))[None], r"returns shape \(1, 3\) for 4 images"),
    ],
)
def test_what_gives_no_embeddings_is_refused(module: Any, said: str, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 2, "b": 2})
    with pytest.raises(cryoprobe.BadInput, match=said):
        cryoprobe.extract(made(module), f"folder:{tmp_path / 'data'}", store)


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), None, Encoder, 5])
def test_extract_says_how_to_wrap_what_is_no_encoder(model: Any, store: Path) -> None:
    with pytest.raises(cryoprobe.BadInput, match="no encoder") as refused:
        cryoprobe.extract(model, "sklearn:digits", store)
    assert "cryoprobe.Encoder(" in str(refused.value.hint)


@pytest.mark.parametrize("option", [{"taps": ["cls"]}, {"image_size": 32}, {"untrained": True}, {"checkpoint": "x.pt"}])
def test_options_of_a_loaded_encoder_are_refused(option: dict[str, Any], store: Path) -> None:
    with pytest.raises(cryoprobe.BadInput, match="is for encoders that are named"):
        cryoprobe.extract(made(), "sklearn:digits", store, **option)


# Data sets

ARRAY = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3)).astype(np.uint8)
LABELS = [0, 1, 0, 1, 2, 2]


class Torch(torch.utils.data.Dataset[tuple[Image.Image, int]]):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(ARRAY[index]), LABELS[index]


def written(folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{i}.png" for i in range(6)]
    for path, image in zip(paths, ARRAY, strict=True):
        Image.fromarray(image).save(path)
    return paths


@pytest.mark.parametrize(
    "source",
    [
        (ARRAY, LABELS),
        (torch.from_numpy(ARRAY), torch.tensor(LABELS)),
        [(Image.fromarray(x), y) for x, y in zip(ARRAY, LABELS, strict=True)],
        Torch(),
        torch.utils.data.Subset(Torch(), range(6)),
    ],
)
def test_sources_with_the_same_images_are_the_same_data(source: Any, store: Path) -> None:
    data = cryoprobe.Dataset(source, name="lab:toy", classes=["x", "y", "z"], split="train")
    (done,) = cryoprobe.extract(made(), data, store)
    found = cryoprobe.open_store(store).open(done.set)
    assert (found.classes, found.labels().tolist(), found.split) == (("x", "y", "z"), LABELS, "train")
    same = cryoprobe.Dataset((ARRAY, LABELS), name="lab:other", classes=["x", "y", "z"], split="train")
    (again,) = cryoprobe.extract(made(), same, store)
    assert (again.set, again.encoded) == (done.set, 0)


def test_files_with_labels(store: Path, tmp_path: Path) -> None:
    paths = written(tmp_path / "images")
    names = ["b", "a", "b", "a", "c", "c"]
    data = cryoprobe.Dataset(list(zip(paths, names, strict=True)), name="lab:files")
    assert (data.splits, data.split("all").classes) == (("all",), ("a", "b", "c"))
    (done,) = cryoprobe.extract(made(), data, store)
    assert cryoprobe.open_store(store).open(done.set).labels().tolist() == [1, 0, 1, 0, 2, 2]
    flags = cryoprobe.Dataset([(str(p), {"a", n}) for p, n in zip(paths, names, strict=True)], name="lab:flags")
    assert flags.split("all").labels.tolist()[:2] == [[1, 1, 0], [1, 0, 0]]


def test_splits_are_found_by_name(store: Path) -> None:
    data = cryoprobe.Dataset({"test": (ARRAY[:3], LABELS[:3]), "train": (ARRAY, LABELS)}, name="toy data")
    assert repr(data) == "Dataset('toy data', train: 6 samples, test: 3 samples, 3 classes)"
    cryoprobe.extract(made(), data, store)
    result = cryoprobe.probe(store, model="lab:a", dataset="toy data", probe="nearest-mean")
    assert result["rows"] == {"train": 6, "test": 3, "val": 0}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (7, "is made of a int"),
        ("folder:x", "is made of a str"),
        ([], "has no samples"),
        ({}, "has no splits"),
        ([1, 2], "An item of lab:x is a int"),
        ([(torch.zeros(3, 8, 8), 0)], "kind Tensor"),
        ((ARRAY, [0, 1]), "6 images and 2 labels"),
        ((ARRAY.astype(np.float32), LABELS), "float32"),
        ({"a": (ARRAY, LABELS), "b": [("x.png", 0)]}, "several kinds: arrays, files"),
        ([("x.png", {"a"}), ("y.png", "b")], "some a set of labels"),
    ],
)
def test_what_is_no_data_set_is_refused(source: Any, said: str) -> None:
    with pytest.raises(cryoprobe.BadInput, match=said):
        cryoprobe.Dataset(source, name="lab:x")


@pytest.mark.parametrize("name", ["", "folder:mine", "torchvision:CIFAR10", "a\nb"])
def test_names_that_are_taken_or_none_are_refused(name: str) -> None:
    with pytest.raises(cryoprobe.BadInput, match="name"):
        cryoprobe.Dataset((ARRAY, LABELS), name=name)


@pytest.mark.parametrize("data", [(ARRAY, LABELS), None, 5, Torch()])
def test_extract_says_how_to_wrap_what_is_no_data_set(data: Any, store: Path) -> None:
    with pytest.raises(cryoprobe.BadInput, match="no data set") as refused:
        cryoprobe.extract(made(), data, store)
    assert "cryoprobe.Dataset(" in str(refused.value.hint)


# Packages of other people, and modules of one's own

PACKAGE = """
import numpy as np, torch
import cryoprobe

def encoder(rest):
    if rest == "broken":
        raise RuntimeError("no such\\nnet")
    if rest == "nothing":
        return None
    return cryoprobe.Encoder(torch.nn.Flatten(), prepared, name="whatever", version=rest)

def prepared(image):
    return torch.from_numpy(np.asarray(image.convert("RGB"), np.float32)) / 255

def make_encoder():
    return encoder("1")

def data(rest):
    images = np.random.default_rng(int(rest)).integers(0, 255, (8, 4, 4, 3)).astype(np.uint8)
    parts = {"train": (images, [0, 1] * 4), "test": (images[::-1], [1, 0] * 4)}
    return cryoprobe.Dataset(parts, name="whatever")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package that announces an encoder and a data set."""
    folder = tmp_path / "site"
    info = folder / "labpkg-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "labpkg.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: labpkg\nVersion: 1.0\n")
    points = "[cryoprobe.encoders]\nlab = labpkg:encoder\n[cryoprobe.datasets]\nlab = labpkg:data\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.modules.pop("labpkg", None)
    return folder


@pytest.mark.parametrize("model", ["lab:3", "labpkg:make_encoder"])
def test_a_package_adds_a_kind(model: str, package: Path, store: Path) -> None:
    first, second = (cryoprobe.extract(model, "lab:7", store) for _ in range(2))
    assert [d.encoded for d in (*first, *second)] == [8, 0, 0, 0]
    result = cryoprobe.probe(store, model=model, dataset="lab:7", probe="nearest-mean")
    assert (result["model"], result["dataset"]) == (model, "lab:7")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("lab:broken", "lab:broken ends with RuntimeError: no such net"),
        ("lab:nothing", "lab:nothing is a NoneType, and no encoder"),
        ("labpkg:nowhere", "has none of that name"),
        ("labpkg:PACKAGE2", "has none of that name"),
        ("nopackage:x", "does not name an encoder"),
    ],
)
def test_what_it_does_not_have_is_refused(model: str, said: str, package: Path, store: Path) -> None:
    with pytest.raises(cryoprobe.BadInput, match=said):
        cryoprobe.extract(model, "lab:7", store)


def test_it_is_listed(package: Path) -> None:
    assert [m.name for m in cryoprobe.list_models("lab:*")] == ["lab:…"]
    assert [d.description for d in cryoprobe.list_datasets() if d.name.startswith("lab")] == ["of the package labpkg"]


def test_options_have_no_effect_on_it_and_are_refused(package: Path, store: Path) -> None:
    for option in ({"image_size": 32}, {"untrained": True}, {"device": "cpu"}, {"taps": ["cls"]}):
        with pytest.raises(cryoprobe.BadInput, match=r"has no effect|has no tap"):
            cryoprobe.extract("lab:3", "lab:7", store, **option)


def test_a_name_of_nobody_s_is_refused_as_before(store: Path) -> None:
    cryoprobe.open_store(store, create=True)
    for ask in (
        lambda: cryoprobe.load_dataset("photos"),
        lambda: cryoprobe.probe(store, model="timm:test_vit", dataset="photos"),
    ):
        with pytest.raises(cryoprobe.BadInput, match="'photos' names no data set") as refused:
            ask()
        assert "folder:photos" in str(refused.value.hint)
