"""Encoders and data sets of one's own: found by name, never stale, and refused with what to do if they are none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.data import write_images
from torchvision.datasets import ImageFolder
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


class Weighed(torch.nn.Module):
    """Holds what is no parameter, buffer or plain setting."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held
        self._private = held

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


class Packed(torch.nn.Module):
    """Keeps its weights as quantised modules do: in an object of C++ that its state dict has."""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "packed"] = object()


NET = torch.nn.Linear(3, 2)


def by_global(batch: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = NET(batch.mean((2, 3)))
    return found


def scaled(k: float) -> Callable[[Image.Image], torch.Tensor]:
    return lambda image: pixels(image) * k


class Resizing:
    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return pixels(image)


def hooked(k: float) -> torch.nn.Module:
    module = torch.nn.Flatten()
    module.register_forward_hook(partial(lambda k, m, x, y: y + k, k))
    return module


PAIRS: dict[str, tuple[Callable[[], Encoder], Callable[[], Encoder]]] = {
    name: (lambda one=one: made(**one), lambda other=other: made(**other))  # type: ignore[misc]
    for name, one, other in [
        ("a tensor", {"module": Weighed(torch.zeros(2))}, {"module": Weighed(torch.ones(2))}),
        ("an array", {"module": Weighed(np.zeros(2))}, {"module": Weighed(np.ones(2))}),
        ("a number of numpy's", {"module": Weighed(np.int64(1))}, {"module": Weighed(np.int64(2))}),
        ("a mapping", {"module": Weighed({"a": 1})}, {"module": Weighed({"a": 2})}),
        ("an object", {"module": Weighed(Resizing(1))}, {"module": Weighed(Resizing(2))}),
        ("modules in a list", {"module": Weighed([torch.nn.PReLU(init=0.1)])}, {"module": Weighed([torch.nn.PReLU()])}),
        ("a hook", {"module": hooked(1.0)}, {"module": hooked(2.0)}),
        ("a method", {"module": attending().forward}, {"module": changed("layer.bias").forward}),
        ("a partial", {"module": partial(attending())}, {"module": partial(changed("layer.bias"))}),
        ("a closure", {"preprocess": scaled(1.0)}, {"preprocess": scaled(2.0)}),
        ("a setting of an object", {"preprocess": Resizing(1)}, {"preprocess": Resizing(2)}),
        ("an argument", {"preprocess": partial(pixels)}, {"preprocess": partial(pixels, **{"a": 1})}),
        (
            "what a transform does not print",
            {"preprocess": v2.Compose([v2.ToDtype(torch.float32, scale=True)])},
            {"preprocess": v2.Compose([v2.ToDtype(torch.uint8, scale=True)])},
        ),
        (
            "a traced module",
            {"module": torch.jit.trace(torch.nn.Hardtanh(0, 1), torch.zeros(1, 3))},
            {"module": torch.jit.trace(torch.nn.Hardtanh(0, 2), torch.zeros(1, 3))},
        ),
    ]
}


@pytest.mark.parametrize("held", PAIRS)
def test_whatever_is_held_is_part_of_the_identity(held: str) -> None:
    one, other = PAIRS[held]
    assert identity(one()) == identity(one())
    assert identity(one()) != identity(other())


def test_a_net_that_a_function_refers_to_is_frozen_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity(made(by_global))
    assert not NET.training
    assert not NET.weight.requires_grad
    monkeypatch.setitem(by_global.__globals__, "NET", torch.nn.Linear(3, 2))
    assert identity(made(by_global)) != before


def test_dropout_is_off_in_a_method_of_a_module() -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5))
    encoder = made(module.forward)
    batch = torch.ones(2, 3, 2, 2)
    assert torch.equal(encoder.encode(batch)["embedding"], batch.flatten(1))


class Convolving(torch.nn.Module):
    """Has maps, tokens and a vector inside."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = torch.nn.Conv2d(3, 5, 2, stride=2)
            self.tokens = torch.nn.Flatten(2)
            self.head = torch.nn.Linear(80, 7)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, str]:
        return self.head(self.tokens(self.stem(x)).flatten(1)), "what only its parts can be read of"


@torch.no_grad()
def test_parts_of_a_module_are_read_by_their_names_in_one_pass() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 2), torch.nn.ReLU(inplace=True), torch.nn.Flatten())
    x = torch.randn(4, 3, 8, 8)
    encoder = made(net, taps=["embedding", "0", "1"])
    assert encoder.taps == ("embedding", "0@mean", "1@mean")
    assert encoder.notes()[0] == "0 is read as 0@mean, the mean of its patch tokens, or over the places of its map"
    out = encoder.encode(x)
    torch.testing.assert_close(out["0@mean"], net[0](x).mean((2, 3)))
    torch.testing.assert_close(out["1@mean"], net[0](x).relu().mean((2, 3)))
    assert torch.equal(out["embedding"], made(net).encode(x)["embedding"])
    assert encoder.spec("embedding") == made(net).spec("embedding")
    assert len({encoder.spec(tap).id for tap in encoder.taps}) == 3


@torch.no_grad()
def test_a_module_that_returns_no_embedding_can_be_read_inside() -> None:
    net = Convolving()
    x = torch.randn(2, 3, 8, 8)
    with pytest.raises(cryoprobe.errors.BadInput, match="returns tuple for 2 images"):
        made(net).encode(x)
    out = made(net, taps=["head", "stem"]).encode(x)
    torch.testing.assert_close(out["head@vector"], net(x)[0])
    torch.testing.assert_close(out["stem@mean"], net.stem(x).mean((2, 3)))


class Turn(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)


class Turned(torch.nn.Module):
    """Maps with their channels last, which no layer of `turn` tells."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem, self.turn, self.norm = torch.nn.Conv2d(3, width, 2, stride=2), Turn(), torch.nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.turn(self.stem(x))).mean((1, 2))


@torch.no_grad()
def test_the_layout_of_a_map_is_told_by_its_layers_or_by_its_proportions() -> None:
    net, x = Turned(9), torch.randn(2, 3, 8, 8)
    out = made(net, taps=["stem", "turn", "norm"]).encode(x)
    torch.testing.assert_close(out["stem@mean"], net.stem(x).mean((2, 3)))
    torch.testing.assert_close(out["turn@mean"], net.stem(x).mean((2, 3)))
    torch.testing.assert_close(out["norm@mean"], net(x))


@pytest.mark.parametrize(
    ("module", "more", "said"),
    [
        (Convolving(), {"taps": ["tokens"]}, "does not say which of its 5 tokens are of patches"),
        (Convolving(), {"taps": ["layer4"]}, "no module layer4"),
        (Turned(4), {"taps": ["turn"]}, "neither its layers nor its output .2, 4, 4, 4. tell which axis holds"),
        (Convolving(), {"taps": "stem"}, "taps is a list of names"),
        (average, {"taps": ["layer"]}, "is a function, whose parts have no names"),
        (Convolving(), {"taps": ["stem"], "preprocess": v2.Compose([PREPROCESS, v2.Grayscale()])}, "images .3, h, w."),
    ],
)
def test_parts_that_cannot_be_read_are_refused(module: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(cryoprobe.errors.BadInput, match=said):
        made(module, **more)


def test_weights_that_change_make_another_encoder() -> None:
    module = attending()
    encoder = made(module)
    before = identity(encoder)
    module.load_state_dict(changed("layer.bias").state_dict())
    assert identity(encoder) == identity(made(changed("layer.bias"))) != before


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


def test_its_parts_are_extracted_and_probed_by_their_names(store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 6, "b": 6})
    data = f"folder:{tmp_path / 'data'}"
    done = cryoprobe.extract(made(Convolving(), taps=["stem", "head"]), data, store)
    assert [(one.tap, one.dim) for one in done] == [("stem@mean", 5), ("head@vector", 7)]
    found = cryoprobe.probe(store, model="lab:a", dataset=data, tap="stem", probe="nearest-mean", test_split=0.5)
    assert "top1" in found["metrics"]


@pytest.mark.parametrize(
    ("module", "more", "said"),
    [
        (7, {}, "module is a int, which cannot be called"),
        (None, {"preprocess": "resize"}, "preprocess is a str, which cannot be called"),
        (None, {"name": ""}, "cannot be the name of an encoder"),
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
        (torch.nn.Linear(7, 2), r"lab:a fails on a batch \[4, 3, 8, 8\]: RuntimeError"),
        (lambda x: x.flatten(1) * 1j, "returns complex numbers"),
    ],
)
def test_what_gives_no_embeddings_is_refused(module: Any, said: str, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 2, "b": 2})
    with pytest.raises(cryoprobe.BadInput, match=said):
        cryoprobe.extract(made(module), f"folder:{tmp_path / 'data'}", store)


@pytest.mark.parametrize(
    ("preprocess", "said"),
    [
        (lambda image: np.zeros((3, 8, 8)), "returns a ndarray, and no tensor"),
        (lambda image: torch.zeros(3, 8, np.asarray(image).sum() % 7 + 1), "several shapes"),
    ],
)
def test_what_gives_no_batch_is_refused(preprocess: Any, said: str, store: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "data", {"a": 4, "b": 4})
    with pytest.raises(cryoprobe.BadInput, match=said):
        cryoprobe.extract(made(preprocess=preprocess), f"folder:{tmp_path / 'data'}", store)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (torch.nn.LazyLinear(2), "has no weights yet"),
        (torch.nn.Linear(2, 2, device="meta"), "has no weights yet"),
        (Packed(), "holds packed, whose content cannot be told"),
    ],
)
def test_weights_that_cannot_be_told_are_refused(module: Any, said: str) -> None:
    with pytest.raises(cryoprobe.BadInput, match=said):
        made(module)


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), None, Encoder, 5])
def test_extract_says_how_to_wrap_what_is_no_encoder(model: Any, store: Path) -> None:
    with pytest.raises(cryoprobe.BadInput, match="no encoder") as refused:
        cryoprobe.extract(model, "sklearn:digits", store)
    assert "cryoprobe.Encoder(" in str(refused.value.hint)


@pytest.mark.parametrize(
    "option",
    [
        *({"taps": ["cls"]}, {"image_size": 32}, {"untrained": True}, {"checkpoint": "x.pt"}),
        *({"seed": 5}, {"device": "cpu"}, {"precision": "fp16"}),
    ],
)
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


class Changing(torch.utils.data.Dataset[tuple[Image.Image, int]]):
    """Gives other images and labels than its attributes say."""

    classes = ("x", "y", "z")
    targets = LABELS
    data = ARRAY

    def __init__(self) -> None:
        self.target_transform = lambda label: 2 - label

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(255 - ARRAY[index]).convert("L"), 2 - LABELS[index]


def test_what_an_object_gives_is_taken_and_not_what_its_attributes_say() -> None:
    split = cryoprobe.Dataset(Changing(), name="LSUN").split("all")
    assert split.labels.tolist() == [2 - label for label in LABELS]
    assert split.classes == ("0", "1", "2")
    for i in range(6):
        expected = np.asarray(Image.fromarray(255 - ARRAY[i]).convert("L"))
        np.testing.assert_array_equal(np.asarray(split.decode(split.read(i))), expected)


@pytest.mark.parametrize("transform", [None, v2.Grayscale()])
def test_a_torchvision_object_keeps_its_order_names_and_transform(transform: Any, tmp_path: Path) -> None:
    for path, name in zip(written(tmp_path / "flat"), "babacc", strict=True):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "data" / name / path.name)
    source = ImageFolder(tmp_path / "data", transform=transform)
    whole = cryoprobe.Dataset(source, name="lab:whole").split("all")
    part = cryoprobe.Dataset(torch.utils.data.Subset(source, [5, 0]), name="lab:part").split("all")
    assert (whole.classes, part.classes) == (("a", "b", "c"), ("a", "b", "c"))
    assert (whole.labels.tolist(), part.labels.tolist()) == (source.targets, [source.targets[5], source.targets[0]])
    np.testing.assert_array_equal(np.asarray(part.decode(part.read(0))), np.asarray(source[5][0]))


ITEMS = [Image.fromarray(x) for x in ARRAY]


@pytest.mark.parametrize(
    ("labels", "classes", "found"),
    [
        (["b", "a", "b", "a", "c", "c"], None, [1, 0, 1, 0, 2, 2]),
        ([True, False] * 3, None, [1, 0] * 3),
        ([torch.tensor(k) for k in LABELS], None, LABELS),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]] * 2, None, [0, 1, 2] * 2),
        ([[1, 1, 0], [0, 1, 0], [0, 0, 1]] * 2, ["x", "y", "z"], [[1, 1, 0], [0, 1, 0], [0, 0, 1]] * 2),
        ([{0}, {0, 2}, {1}] * 2, ["x", "y", "z"], [[1, 0, 0], [1, 0, 1], [0, 1, 0]] * 2),
        ([["x"], ["z", "x"], []] * 2, None, None),
        ([{"10"}, {"2"}, {"2"}] * 2, None, [[0, 1], [1, 0], [1, 0]] * 2),
    ],
)
def test_labels_of_items(labels: list[Any], classes: list[str] | None, found: list[Any] | None, tmp_path: Path) -> None:
    paths = written(tmp_path / "images")
    for source in (list(zip(ITEMS, labels, strict=True)), list(zip(paths, labels, strict=True))):
        if found is None:
            with pytest.raises(cryoprobe.BadInput, match="a set of labels"):
                cryoprobe.Dataset(source, name="lab:x", classes=classes)
        else:
            assert cryoprobe.Dataset(source, name="lab:x", classes=classes).split("all").labels.tolist() == found


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 1, 2, 3, 4, 5], ["x", "y"]),
        ([0, 1, 2, -1, 0, 0], ["x", "y", "z"]),
        ([(0, 7), (1, 3)] * 3, None),
        ([np.zeros((4, 4), int)] * 6, None),
        ([[0, 1], [1]] * 3, None),
        ([None] * 6, None),
        ([0.5] * 6, None),
        ([{5}] * 6, ["x"]),
    ],
)
def test_labels_that_are_none_are_refused_before_anything_is_sealed(labels: list[Any], classes: Any) -> None:
    with pytest.raises(cryoprobe.BadInput):
        cryoprobe.Dataset(list(zip(ITEMS, labels, strict=True)), name="lab:x", classes=classes)


@pytest.mark.parametrize("classes", [{"dog": 1, "cat": 0}, {"a", "b"}, 2, "ab", [1, 2], []])
def test_classes_are_a_list_of_texts(classes: Any) -> None:
    with pytest.raises(cryoprobe.BadInput, match="classes of lab:x"):
        cryoprobe.Dataset((ARRAY, LABELS), name="lab:x", classes=classes)


@pytest.mark.parametrize("labels", [np.zeros((6, 4, 4), np.uint8), np.full(6, -1), np.full(6, 3)])
def test_labels_that_no_set_can_hold_are_refused_before_anything_is_written(labels: Any, store: Path) -> None:
    data = cryoprobe.Dataset((ARRAY, LABELS), name="lab:x", classes=["x", "y", "z"])
    object.__setattr__(data.split("all"), "labels", labels)
    with pytest.raises(cryoprobe.BadInput, match="The labels of lab:x"):
        cryoprobe.extract(made(), data, store)
    assert not store.exists()


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
    options = [{"image_size": 32}, {"untrained": True}, {"device": "cpu"}, {"taps": ["cls"]}, {"seed": 1}]
    for option in (*options, {"precision": "fp16"}, {"data_root": "x"}, {"download": True}):
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
