"""Never stale: whatever can change a number changes the key, nothing else does, and the ids themselves never change.

The golden ids are frozen: a change that breaks one of them makes every store that exists worthless, and is wrong.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from support.data import put_set

import cryoprobe
from cryoprobe.canonical import canonical_json
from cryoprobe.pipeline.specs import DatasetSpec, EncoderSpec, Preprocessing, samples_digest
from cryoprobe.pipeline.trials import key as trial_keys
from cryoprobe.stores.format.names import Name
from cryoprobe.stores.keys import set_id, unit_id
from cryoprobe.stores.store import Store

# Golden ids

OPEN_CLIP = EncoderSpec(
    family="open_clip",
    architecture="ViT-B-32-quickgelu",
    weights="ab" * 32,
    preprocessing=Preprocessing(
        library="open_clip",
        image_size=(224, 224),
        resize_mode="shortest",
        crop_fraction=1.0,
        interpolation="bicubic",
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        color_mode="RGB, converted after resize and crop",
    ),
    tap="post_projection",
)
TIMM = EncoderSpec(
    family="timm",
    architecture="vit_small_patch14_dinov2",
    weights="cd" * 32,
    preprocessing=Preprocessing(
        library="timm",
        image_size=(518, 518),
        resize_mode="center",
        crop_fraction=1.0,
        interpolation="bicubic",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        color_mode="RGB, converted before resize and crop",
    ),
    tap="cls",
    stored_dtype="float32",
)
OWN = EncoderSpec(
    family="lab",
    architecture="näive",
    weights="ef" * 32,
    preprocessing=Preprocessing.model_validate({"library": "lab.transforms", "gamma": 2.2, "version": "1.0"}),
    tap="layer-7",
    precision="bf16",
)
BIRDS = DatasetSpec(samples="12" * 32, rows=3, classes=("crow", "owl é"), split="train")
FLAGS = DatasetSpec(
    samples="34" * 32, rows=2, classes=("a",), split="all", multilabel=True, failed=("", "56" * 32), schema_version=1
)
NAME = Name(model="timm:m", dataset="folder:/birds", split="train", tap="pooled", limit=100)

WRITTEN: list[tuple[Any, str, str]] = [
    (
        OPEN_CLIP.written,
        '{"architecture":"ViT-B-32-quickgelu","family":"open_clip","preprocessing":{"color_mode":"RGB, converted after '
        'resize and crop","crop_fraction":1,"image_size":[224,224],"interpolation":"bicubic","library":"open_clip",'
        '"mean":[0.48145466,0.4578275,0.40821073],"resize_mode":"shortest","std":[0.26862954,0.26130258,0.27577711]},'
        f'"tap":"post_projection","weights":"{"ab" * 32}"}}',
        "d9eb19b9f17b4d7ecad7dfbfc85ef9eeaab2ff4bddc364536dd81c1c4f89f595",
    ),
    (
        TIMM.written,
        '{"architecture":"vit_small_patch14_dinov2","family":"timm","preprocessing":{"color_mode":"RGB, converted '
        'before resize and crop","crop_fraction":1,"image_size":[518,518],"interpolation":"bicubic","library":"timm",'
        '"mean":[0.485,0.456,0.406],"resize_mode":"center","std":[0.229,0.224,0.225]},"stored_dtype":"float32",'
        f'"tap":"cls","weights":"{"cd" * 32}"}}',
        "2f6d2d1895539a3b940871e86d6ade3e547ba1d491cbe7a40658a8ba40faa0ec",
    ),
    (
        OWN.written,
        '{"architecture":"näive","family":"lab","precision":"bf16","preprocessing":{"gamma":2.2,"library":'
        f'"lab.transforms","version":"1.0"}},"tap":"layer-7","weights":"{"ef" * 32}"}}',
        "dd0bda90ab412fc9eb0fae66ec6a0bd10636d1e6cbec074aae47e9bd252099eb",
    ),
    (
        BIRDS.written,
        f'{{"classes":["crow","owl é"],"rows":3,"samples":"{"12" * 32}","split":"train"}}',
        "f71dd3c0a530b49ff48bc29058fe312051f59f0cd0c0506d287d52526de8a05e",
    ),
    (
        FLAGS.written,
        f'{{"classes":["a"],"failed":["","{"56" * 32}"],"multilabel":true,"rows":2,"samples":"{"34" * 32}",'
        '"split":"all"}',
        "f6ef082eaefd3ce493de80a4430604ca5ae0b608c6e32fe4fda77607a659331f",
    ),
    (
        NAME.written,
        '{"dataset":"folder:/birds","limit":100,"model":"timm:m","split":"train","tap":"pooled"}',
        "fd800a3976b55f29e47f52fed41157b4b3aee13426ebea636e62f215c1f7978e",
    ),
]


@pytest.mark.parametrize(("written", "text", "golden"), WRITTEN)
def test_specs_are_written_and_hashed_as_ever(written: dict[str, Any], text: str, golden: str) -> None:
    assert canonical_json(written).decode() == text
    assert hashlib.sha256(text.encode()).hexdigest() == golden


def test_ids_are_those_of_the_specs() -> None:
    assert [s.id for s in (OPEN_CLIP, TIMM, OWN, BIRDS, FLAGS)] == [golden for _, _, golden in WRITTEN[:5]]
    assert NAME.digits == WRITTEN[5][2][:16]


def test_ids_made_of_ids_are_as_ever() -> None:
    encoder, samples = OPEN_CLIP.id, [bytes([i]) * 32 for i in range(3)]
    assert set_id(encoder, BIRDS.id) == "77c98e618f91593a59df521fa18a6c4e55930c85076b47fca40b915ac322d7c4"
    assert unit_id(encoder, samples) == hashlib.sha256(bytes.fromhex(encoder) + b"".join(samples)).hexdigest()
    assert unit_id(encoder, samples) == "04c30585133ce665ba1d18d6fc7a45cf78d2a737b5bb59ca7efbd850a4ef2a66"
    labels = np.array([2, 0, -1])
    assert samples_digest(samples, labels) == "ff99f701d3d2de7f497af175095c46047f4eb0d6724b8344eb5e269c0c9e2ee5"
    assert (
        samples_digest(samples, np.array([[1, 0], [0, 0], [1, 1]], dtype=np.uint8))
        == "8deafd4fa46cfea7532294519228389cc7ee82dd4dd286f94d15e2c37cc92f71"
    )


def test_a_new_field_with_a_default_changes_no_id() -> None:
    class Later(EncoderSpec):
        pooling: str = "mean"

    class LaterData(DatasetSpec):
        crops: int = 1

    assert Later(**dict(OPEN_CLIP)).id == OPEN_CLIP.id
    assert Later(**dict(OPEN_CLIP), pooling="gem").id != OPEN_CLIP.id
    assert LaterData(**dict(BIRDS)).id == BIRDS.id


def test_what_is_written_is_read_as_it_was() -> None:
    for spec in (OPEN_CLIP, TIMM, OWN):
        assert EncoderSpec.model_validate(spec.written) == spec
    for data in (BIRDS, FLAGS):
        assert DatasetSpec.model_validate(data.written) == data


OWL = "owl \u00e9"

# Extraction: every change that is planted gives another set, and none of the harmless ones does


@dataclass
class World:
    """Images in a folder, weights in a file, and how they are extracted."""

    root: Path
    model: str = "timm:test_vit"
    data: str = "birds"
    weights: Path | None = None
    store: str = "store"
    split: str = "train"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.root / self.data

    def state(self) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model: Any = timm.create_model("test_vit", num_classes=0)
        state: dict[str, torch.Tensor] = model.state_dict()
        return state

    def keep(self, content: Any, name: str = "weights.pt") -> None:
        self.weights = self.root / name
        if name.endswith("safetensors"):
            save_file(content, self.weights)
        else:
            torch.save(content, self.weights)

    def extracted(self) -> str:
        options = {"image_size": 32, "batch_size": 4, "workers": 1, "splits": [self.split], **self.options}
        (only,) = cryoprobe.extract(
            self.model, f"folder:{self.folder}", self.root / self.store, checkpoint=self.weights, **options
        )
        return only.set


def picture(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (24, 24, 3)).astype(np.uint8)


def made(root: Path) -> World:
    world = World(root)
    for split in ("train", "test"):
        for place, name in enumerate(("crow", OWL)):
            (world.folder / split / name).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(picture(10 * place + i)).save(world.folder / split / name / f"{i}.png")
        Image.fromarray(picture(99)).save(world.folder / split / OWL / "9.jpg", quality=90)
    grey = (np.arange(576).reshape(24, 24) % 256).astype(np.uint8)
    Image.fromarray(grey).save(world.folder / "train" / OWL / "8.png")
    world.keep(world.state())
    return world


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str]:
    """Return a world as it was first extracted, and the set that came of it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("CRYOPROBE_CACHE", str(tmp_path_factory.mktemp("cache")))
    try:
        world = made(tmp_path_factory.mktemp("world"))
        return world, world.extracted()
    finally:
        patch.undo()


@pytest.fixture
def world(base: tuple[World, str], tmp_path: Path) -> World:
    """Return a copy of it, its store included: whatever is stale is there to be taken."""
    root = tmp_path / "world"
    shutil.copytree(base[0].root, root)
    return World(root, weights=root / "weights.pt")


def _pixel(world: World) -> None:
    path = world.folder / "train" / "crow" / "0.png"
    changed = picture(0)
    changed[3, 4, 1] ^= 1
    Image.fromarray(changed).save(path)


def _exif(world: World) -> None:
    path = world.folder / "train" / OWL / "9.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.save(path, quality="keep", exif=exif)


def _depth(world: World) -> None:
    grey = (np.arange(576).reshape(24, 24) % 256).astype(np.uint16) * 257
    Image.fromarray(grey).save(world.folder / "train" / OWL / "8.png")


def _label(world: World) -> None:
    (world.folder / "train" / "crow" / "2.png").rename(world.folder / "train" / OWL / "00.png")


def _order(world: World) -> None:
    (world.folder / "train" / "crow" / "0.png").rename(world.folder / "train" / "crow" / "7.png")


def _broken(world: World) -> None:
    (world.folder / "train" / "crow" / "5.png").write_bytes(b"no image")
    world.options["max_bad"] = 1


def _one_weight(world: World) -> None:
    state = world.state()
    state["norm.bias"] = state["norm.bias"].clone()
    state["norm.bias"][0] += 1e-6
    world.keep(state)


def _option(**given: Any) -> Callable[[World], None]:
    return lambda world: world.options.update(given)


def _untrained(seed: int) -> Callable[[World], None]:
    def change(world: World) -> None:
        world.weights = None
        world.options |= {"untrained": True, "seed": seed}

    return change


def _other_architecture(world: World) -> None:
    world.model, world.weights = "timm:test_vit2", None
    world.options["untrained"] = True


PLANTED: dict[str, Callable[[World], Any]] = {
    "one bit of one pixel": _pixel,
    "EXIF orientation": _exif,
    "16 bits for 8": _depth,
    "one label": _label,
    "the order of samples": _order,
    "one image more": lambda w: Image.fromarray(picture(55)).save(w.folder / "train" / "crow" / "5.png"),
    "one image less": lambda w: (w.folder / "train" / "crow" / "1.png").unlink(),
    "one image twice": lambda w: shutil.copy(w.folder / "train/crow/1.png", w.folder / "train/crow/1b.png"),
    "an image that cannot be decoded": _broken,
    "a class of another name": lambda w: (w.folder / "train" / "crow").rename(w.folder / "train" / "raven"),
    "another split": lambda w: setattr(w, "split", "test"),
    "one weight": _one_weight,
    "weights in half precision": lambda w: w.keep({k: v.half().float() for k, v in w.state().items()}),
    "random weights": _untrained(0),
    "random weights of another seed": _untrained(1),
    "another architecture": _other_architecture,
    "image size": _option(image_size=48),
    "resize and crop": _option(image_size=None, resize=36, crop=32),
    "the filter of the resizing": _option(interpolation="nearest"),
    "what transparent pixels are laid on": _option(background="white"),
    "what decodes JPEGs": _option(fast_decode=True),
    "tap": _option(taps=["cls"]),
    "stored dtype": _option(stored_dtype="float32"),
    "a part of the rows": _option(limit=4),
    "another part of the rows": _option(limit=4, limit_seed=1),
}
SEEN: dict[str, str] = {}


@pytest.mark.parametrize("change", PLANTED)
def test_a_planted_change_gives_another_set(change: str, world: World, base: tuple[World, str]) -> None:
    PLANTED[change](world)
    found = world.extracted()
    assert found != base[1]
    assert SEEN.setdefault(found, change) == change, "no two changes are taken for one another either"


def _moved(world: World) -> None:
    world.folder.rename(world.root / "elsewhere")
    world.data = "elsewhere"


def _renamed(world: World) -> None:
    for path in sorted((world.folder / "train" / "crow").iterdir()):
        path.rename(path.with_name(f"photo-{path.name}"))


def _touched(world: World) -> None:
    for path in world.folder.rglob("*.*"):
        os.utime(path, ns=(1, 1))


def _nfd(world: World) -> None:
    folder = world.folder / "train" / OWL
    assert folder.name != unicodedata.normalize("NFD", folder.name)
    folder.rename(folder.with_name(unicodedata.normalize("NFD", folder.name)))


HARMLESS: dict[str, Callable[[World], Any]] = {
    "nothing": lambda w: None,
    "the folder moved": _moved,
    "files renamed in order": _renamed,
    "dates": _touched,
    "the same weights in another container": lambda w: w.keep(w.state(), "weights.safetensors"),
    "a prefix of the checkpoint's keys": lambda w: w.keep({f"module.{k}": v for k, v in w.state().items()}),
    "a checkpoint with more around it": lambda w: w.keep({"state_dict": w.state(), "epoch": 7}),
    "keys of the checkpoint in another order": lambda w: w.keep(dict(reversed(w.state().items()))),
    "the checkpoint's name": lambda w: w.keep(w.state(), "renamed.pth"),
    "batch size": _option(batch_size=3),
    "rows in a unit": _option(unit_rows=2),
    "workers": _option(workers=2),
    "the device, named": _option(device="cpu"),
    "another store": lambda w: setattr(w, "store", "another"),
    "every file read again": _option(rehash=True),
    "the default tap, named": _option(taps=["pooled"]),
    "the default dtype, named": _option(stored_dtype="float16"),
    "a file that is no image, left out": lambda w: (
        (w.folder / "train" / "crow" / "notes.txt").write_text("-"),
        w.options.update(ignore=["*.txt"]),
    ),
    "a limit beyond all rows": _option(limit=1000),
    "how many samples may fail": _option(max_bad=3),
    "how many pixels images may have": _option(max_pixels=100_000),
    "another file in another split": lambda w: (w.folder / "test" / "crow" / "0.png").unlink(),
    "a class name in another normal form": _nfd,
}


@pytest.mark.parametrize("change", HARMLESS)
def test_a_harmless_change_gives_the_same_set(change: str, world: World, base: tuple[World, str]) -> None:
    HARMLESS[change](world)
    assert world.extracted() == base[1]


# What no small folder can show: fields of the specs one by one

FIELDS: dict[str, dict[str, Any]] = {
    "family": {"family": "timm"},
    "precision": {"precision": "tf32"},
    "schema": {"schema_version": 2},
    **{
        f"preprocessing: {name}": {"preprocessing": OPEN_CLIP.preprocessing.model_copy(update={name: value})}
        for name, value in {
            "library": "timm",
            "image_size": (224, 256),
            "resize_mode": "squash",
            "crop_fraction": 0.875,
            "interpolation": "bilinear",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "color_mode": "RGB, converted before resize and crop",
            "background": "white",
        }.items()
    },
    "preprocessing: a field of its own": {
        "preprocessing": Preprocessing.model_validate({**OPEN_CLIP.preprocessing.model_dump(), "gamma": 2.2})
    },
}


@pytest.mark.parametrize("change", FIELDS)
def test_every_field_of_an_encoder_counts(change: str) -> None:
    assert OPEN_CLIP.model_copy(update=FIELDS[change]).id != OPEN_CLIP.id


# Trials

CLASSES = ("a", "b", "c")
ASKED: dict[str, Any] = {"model": "timm:m", "dataset": "folder:/d"}


def features(n: int, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % len(CLASSES)
    return 2 * np.eye(len(CLASSES), 8)[y] + rng.normal(0, 1, (n, 8)), y


@pytest.fixture
def filled(store: Path) -> Store:
    """Return a store with three splits of one data set, and others under other names."""
    opened = cryoprobe.open_store(store, create=True)
    for split, n, seed in (("train", 60, 0), ("test", 30, 1), ("other", 30, 2), ("held", 30, 3)):
        put_set(opened, *features(n, seed), classes=CLASSES, split=split)
    x, y = features(60, 0)
    put_set(opened, x, np.roll(y, 1), classes=CLASSES, split="train", dataset="folder:/relabelled")
    put_set(opened, *features(30, 1), classes=CLASSES, split="test", dataset="folder:/relabelled")
    return opened


LOGISTIC: dict[str, Any] = {"C": 1.0}
GRID: dict[str, Any] = {"C": (0.1, 1.0), "val_split": "held"}
FEW: dict[str, Any] = {"probe": "nearest-mean", "shots": 2, "seeds": 1}
CLIP: dict[str, Any] = {"protocol": "clip", "val_split": "held"}

OTHER_TRIALS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the labels of the training rows": (LOGISTIC, {"dataset": "folder:/relabelled"}),
    "the training rows": (LOGISTIC, {"train_split": "other"}),
    "the test rows": (LOGISTIC, {"test_split": "other"}),
    "a fraction held out for the test": ({**LOGISTIC, "test_split": "0.2"}, {"test_split": "0.3"}),
    "who is held out": ({**LOGISTIC, "test_split": "0.2"}, {"seed": 1}),
    "the rows that choose": (GRID, {"val_split": "0.2"}),
    "the probe": (LOGISTIC, {"C": (), "probe": "nearest-mean"}),
    "C": (LOGISTIC, {"C": 2.0}),
    "a grid": (GRID, {"C": (0.1, 2.0)}),
    "what chooses": (GRID, {"choose_by": "top1"}),
    "class weights": (LOGISTIC, {"params": {"class_weight": "balanced"}}),
    "how many rows of a class": (FEW, {"shots": 3}),
    "which rows of a class": (FEW, {"seed": 1}),
    "a part of the training rows": (FEW, {"shots": (), "fractions": 0.5}),
    "the protocol": ({"protocol": "clip-readme"}, {"protocol": "dinov2-knn"}),
    "the metric": (CLIP, {"params": {"metric": "mean_per_class_recall"}}),
    "a parameter of a protocol": ({"protocol": "dinov2-knn"}, {"params": {"temperature": 0.1}}),
}


@pytest.mark.parametrize("change", OTHER_TRIALS)
def test_a_planted_change_gives_another_trial(change: str, filled: Store) -> None:
    first, then = OTHER_TRIALS[change]
    one = cryoprobe.probe(filled, **{**ASKED, **first})
    other = cryoprobe.probe(filled, **{**ASKED, **first, **then})
    assert not other["cached"]
    assert other["trial"] != one["trial"]


def test_the_version_of_scikit_learn_gives_another_trial(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {**ASKED, "probe": "sklearn.naive_bayes.GaussianNB"}
    one = cryoprobe.probe(filled, **asked)
    monkeypatch.setattr(importlib.metadata, "version", lambda package: "999.0")
    other = cryoprobe.probe(filled, **asked)
    assert (other["cached"], other["trial"] == one["trial"]) == (False, False)


def test_the_schema_of_trials_gives_another_trial(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    one = cryoprobe.probe(filled, **ASKED, **LOGISTIC)
    monkeypatch.setattr(trial_keys, "TRIAL_SCHEMA", trial_keys.TRIAL_SCHEMA + 1)
    assert cryoprobe.probe(filled, **ASKED, **LOGISTIC)["trial"] != one["trial"]


SAME_TRIALS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a seed that nothing uses": (LOGISTIC, {"seed": 5}),
    "processes": (LOGISTIC, {"jobs": 1}),
    "memory": (LOGISTIC, {"memory": 2**34}),
    "threads": (LOGISTIC, {"params": {"n_threads": 1}}),
    "a parameter at its default": (LOGISTIC, {"params": {"class_weight": None}}),
    "a whole number": (LOGISTIC, {"C": 1}),
    "a parameter instead of a grid of one": (LOGISTIC, {"C": (), "params": {"C": 1.0}}),
    "parameters in another order": (
        {"probe": "knn", "params": {"k": 3, "metric": "euclidean"}},
        {"params": {"metric": "euclidean", "k": 3}},
    ),
    "the published metric, named": (CLIP, {"params": {"metric": "top1"}}),
    "a published parameter, named": ({"protocol": "dinov2-knn"}, {"params": {"temperature": 0.07}}),
}


@pytest.mark.parametrize("change", SAME_TRIALS)
def test_a_harmless_change_gives_the_same_trial(change: str, filled: Store) -> None:
    first, then = SAME_TRIALS[change]
    one = cryoprobe.probe(filled, **{**ASKED, **first})
    other = cryoprobe.probe(filled, **{**ASKED, **first, **then})
    assert (other["cached"], other["trial"]) == (True, one["trial"])


WHOLE: list[dict[str, Any]] = [
    {"C": 1.0},
    {"C": (0.1, 1.0, 10.0), "val_split": "held"},
    {"probe": "knn"},
    {"probe": "knn", "grid": {"k": (1, 3)}, "val_split": "held"},
    {"protocol": "clip", "val_split": "held"},
    {"protocol": "dinov2-knn"},
    {"probe": "sgd", "params": {"epochs": 1}},
    {"probe": "nearest-mean"},
]


@pytest.mark.parametrize("asked", WHOLE)
def test_a_result_that_is_answered_is_that_of_the_run_to_the_type(asked: dict[str, Any], store: Path) -> None:
    """Canonical JSON writes 1.0 as 1: here every score is whole, or close."""
    opened = cryoprobe.open_store(store, create=True)
    for split, seed in (("train", 0), ("test", 1), ("held", 2)):
        y = np.arange(30) % 3
        x = 100 * np.eye(3, 8)[y] + np.random.default_rng(seed).normal(size=(30, 8))
        put_set(opened, x, y, classes=CLASSES, split=split)
    run, answered = (cryoprobe.probe(opened, **ASKED, **asked) for _ in range(2))
    assert (run["cached"], answered["cached"]) == (False, True)
    (listed,) = cryoprobe.results(opened)

    def text(trial: cryoprobe.Trial) -> str:
        return json.dumps(trial.stored, sort_keys=True)

    assert text(answered.trial) == text(run.trial)
    assert text(listed) == text(run.trial)


def test_the_tables_are_as_long_as_they_should_be() -> None:
    assert len(PLANTED) + len(FIELDS) + len(OTHER_TRIALS) >= 40
    assert len(HARMLESS) + len(SAME_TRIALS) >= 20
