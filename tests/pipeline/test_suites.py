"""Our encoders, data sets and probes pass the suites that are shipped for other people's; and the suites can fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from support.containers import as_hub_parquet, as_parquet, as_shards, samples
from support.data import write_images
from torchvision.transforms import v2

import cryoprobe
from cryoprobe.pipeline.datasets.base import Dataset
from cryoprobe.pipeline.encoders import Encoder
from cryoprobe.pipeline.probes import ProbeRequest, make_estimator
from cryoprobe.pipeline.probes.registry import NAMED
from cryoprobe.testing import DatasetSuite, EncoderSuite, ProbeSuite

# Encoders

PREPROCESS = v2.Compose([v2.RGB(), v2.Resize((16, 16)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
TAPS = {"timm:test_vit": ["pooled", "cls", "patch_mean"], "open_clip:ViT-S-32-alt": ["post_projection", "cls"]}


def own(seed: int = 0, preprocess: Any = PREPROCESS) -> Encoder:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Dropout(0.5))
    return cryoprobe.Encoder(module, preprocess, name="lab:own", version="1", device="cpu")


def library(model: str, seed: int = 0) -> Encoder:
    return cryoprobe.load_encoder(model, taps=TAPS[model], untrained=True, seed=seed, device="cpu")


@cache
def made(kind: str, seed: int = 0, copy: int = 0) -> Encoder:
    """Load an encoder once for all tests; another `copy` is loaded again."""
    if kind == "quickstart":
        return cryoprobe.load_encoder("quickstart:efficientnet_lite0", image_size=64, device="cpu")
    return own(seed) if kind == "own" else library(kind, seed)


class TestEncoders(EncoderSuite):
    @pytest.fixture(params=["own", *TAPS])
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def encoder(self, kind: str) -> Encoder:
        return made(kind)

    @pytest.fixture
    def same_encoder(self, kind: str) -> Encoder:
        return made(kind, copy=1)

    @pytest.fixture
    def other_encoder(self, kind: str) -> Encoder:
        return made(kind, seed=1)


class TestQuickstartEncoder(EncoderSuite):
    @pytest.fixture
    def encoder(self) -> Encoder:
        return made("quickstart")

    @pytest.fixture
    def same_encoder(self) -> Encoder:
        return made("quickstart", copy=1)


class Faulty:
    """An encoder that is right but for what is replaced."""

    def __init__(self, **replaced: Any) -> None:
        self._encoder = own()
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced.get(name, getattr(self._encoder, name))


def scaled(batch: torch.Tensor, by: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    return {tap: by(rows) for tap, rows in own().encode(batch).items()}


def by_its_batch(batch: torch.Tensor) -> dict[str, torch.Tensor]:
    return scaled(batch, lambda rows: rows - rows.mean(0))


def with_noise(batch: torch.Tensor) -> dict[str, torch.Tensor]:
    return scaled(batch, lambda rows: rows + 1e-3 * float(np.random.default_rng().random()))


def in_place(batch: torch.Tensor) -> dict[str, torch.Tensor]:
    return own().encode(batch.mul_(0.5))  # type: ignore[return-value]


KEPT = own().encode(torch.rand(6, 3, 16, 16))


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "noise": ("the_same_batch_has_the_same_embeddings_to_the_last_bit", {"encode": with_noise}),
    "random state": ("encoding_leaves_torch_as_it_was", {"encode": lambda b: scaled(b, lambda r: r + torch.rand(1))}),
    "batch statistics": ("an_embedding_does_not_depend_on_its_batch", {"encode": by_its_batch}),
    "in place": ("encoding_changes_neither_the_encoder_nor_its_input", {"encode": in_place}),
    "one buffer": ("encoding_changes_neither_the_encoder_nor_its_input", {"encode": lambda batch: KEPT}),
    "gradient": ("no_gradient_is_kept", {"encode": lambda b: scaled(b, lambda r: r.clone().requires_grad_())}),
    "nan": ("every_tap_gives_one_finite_row_an_image", {"encode": lambda b: scaled(b, lambda r: r * torch.nan)}),
    "half": ("every_tap_gives_one_finite_row_an_image", {"encode": lambda b: scaled(b, lambda r: r.half())}),
    "constant": ("different_images_have_different_embeddings", {"encode": lambda b: scaled(b, torch.ones_like)}),
    "tap": ("each_tap_and_each_stored_dtype_has_an_id_of_its_own", {"spec": lambda *_: own().spec("embedding")}),
    "no taps": ("it_has_what_an_encoder_has", {"taps": ()}),
    "several shapes": (
        "images_of_all_modes_and_sizes_become_tensors_of_one_shape",
        {"preprocess": lambda image: torch.zeros(3, *image.size)},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_encoder_fails(fault: str) -> None:
    test, replaced = FAULTS[fault]
    batch = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    verb = getattr(EncoderSuite(), f"test_{test}")
    takes_batch = "batch" in verb.__code__.co_varnames[: verb.__code__.co_argcount]
    arguments = {"batch": batch} if takes_batch else {}
    verb(encoder=Faulty(), **{name: value.clone() for name, value in arguments.items()})
    with pytest.raises(AssertionError):
        verb(encoder=Faulty(**replaced), **arguments)


def test_an_encoder_that_hides_its_weights_from_its_id_fails() -> None:
    hidden = Faulty(spec=own(1).spec)
    with pytest.raises(AssertionError):
        EncoderSuite().test_other_weights_have_another_id(hidden, own(1))
    with pytest.raises(AssertionError):
        EncoderSuite().test_the_same_encoder_has_the_same_id_and_embeddings(own(), own(1), torch.rand(2, 3, 16, 16))


# Data sets

ARRAY = np.random.default_rng(0).integers(0, 255, (12, 8, 8, 3)).astype(np.uint8)


def folder(root: Path) -> Dataset:
    if not root.exists():
        for split in ("train", "test"):
            write_images(root / split, {"a": 4, "b": 3}, seed=len(split))
    return cryoprobe.load_dataset(f"folder:{root}")


def table(root: Path) -> Dataset:
    if not root.exists():
        paths = write_images(root, {"a": 4, "b": 3})
        rows = [f"{path.relative_to(root)},{path.parent.name}|x" for path in paths]
        (root / "t.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return cryoprobe.load_dataset(f"csv:{root / 't.csv'}")


def npz(root: Path) -> Dataset:
    if not root.exists():
        root.mkdir()
        parts = {"x_train": ARRAY, "y_train": np.arange(12) % 3, "x_test": ARRAY[:4], "y_test": np.arange(4) % 3}
        np.savez(root / "a.npz", **parts)
    return cryoprobe.load_dataset(f"npz:{root / 'a.npz'}")


def own_arrays(root: Path) -> Dataset:
    return cryoprobe.Dataset({"train": (ARRAY, np.arange(12) % 3)}, name="lab:arrays")


def own_items(root: Path) -> Dataset:
    return cryoprobe.Dataset([(Image.fromarray(x), i % 2) for i, x in enumerate(ARRAY)], name="lab:items")


def own_files(root: Path) -> Dataset:
    if not root.exists():
        write_images(root, {"a": 4, "b": 3})
    return cryoprobe.Dataset([(path, path.parent.name) for path in sorted(root.rglob("*.png"))], name="lab:files")


def fake(root: Path) -> Dataset:
    return cryoprobe.Dataset(torchvision.datasets.FakeData(12, (3, 8, 8), 3), name="lab:fake")


def digits(root: Path) -> Dataset:
    return cryoprobe.load_dataset("sklearn:digits")


def shards(root: Path) -> Dataset:
    if not root.exists():
        as_shards(root, samples(9), "train", 5)
        as_shards(root, samples(6, seed=1), "test", 5)
    return cryoprobe.load_dataset(f"wds:{root}")


def parquet(root: Path) -> Dataset:
    if not root.exists():
        for split in ("train", "test"):
            as_parquet(root / f"{split}.parquet", samples(9))
    return cryoprobe.load_dataset(f"parquet:{root}")


def hub(root: Path) -> Dataset:
    if not root.exists():
        as_hub_parquet(root / "data" / "train-00000-of-00001.parquet", samples(9))
    return cryoprobe.load_dataset(f"hf:{root}")


OPENERS = (folder, table, npz, shards, parquet, hub, own_arrays, own_items, own_files, fake, digits)


class TestDatasets(DatasetSuite):
    @pytest.fixture(params=OPENERS, ids=lambda opener: opener.__name__)
    def opener(self, request: pytest.FixtureRequest) -> Callable[[Path], Dataset]:
        found: Callable[[Path], Dataset] = request.param
        return found

    @pytest.fixture
    def dataset(self, opener: Callable[[Path], Dataset], tmp_path: Path) -> Dataset:
        return opener(tmp_path / "data")

    @pytest.fixture
    def same_dataset(self, opener: Callable[[Path], Dataset], dataset: Dataset, tmp_path: Path) -> Dataset:
        return opener(tmp_path / "data")


class FaultySplit:
    def __init__(self, split: Any, **replaced: Any) -> None:
        self._split, self._replaced = split, replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced.get(name, getattr(self._split, name))

    def __len__(self) -> int:
        return int(self._replaced.get("n", len(self._split)))


def of_split(**replaced: Any) -> Any:
    split = FaultySplit(own_arrays(Path()).split("train"), **replaced)
    return SimpleNamespace(name="lab:x", splits=("train",), split=lambda name: split)


COUNT = iter(range(1000))
DATA_FAULTS: dict[str, tuple[str, Any]] = {
    "labels out of range": ("every_sample_has_a_label", of_split(labels=np.arange(12))),
    "labels of floats": ("every_sample_has_a_label", of_split(labels=np.zeros(12))),
    "too few labels": ("every_sample_has_a_label", of_split(labels=np.zeros(3, np.int64))),
    "classes twice": ("classes_are_the_same_texts_in_every_split", of_split(classes=("a", "a", "b"))),
    "bytes that change": ("samples_are_read_and_decoded", of_split(read=lambda i: str(next(COUNT)).encode())),
    "a file that is no source": ("a_sample_that_is_a_file_is_one_of_the_sources", of_split(path=lambda i: Path("/x"))),
    "sources that are not there": ("sources_are_there_and_have_a_fingerprint", of_split(sources=(Path("/not/there"),))),
    "no splits": ("it_has_a_name_and_splits", SimpleNamespace(name="x", splits=(), split=None)),
}


@pytest.mark.parametrize("fault", DATA_FAULTS)
def test_a_faulty_data_set_fails(fault: str) -> None:
    test, data = DATA_FAULTS[fault]
    with pytest.raises(AssertionError):
        getattr(DatasetSuite(), f"test_{test}")(data)


def test_a_data_set_in_another_order_fails() -> None:
    one = own_arrays(Path())
    other = cryoprobe.Dataset({"train": (ARRAY[::-1], np.arange(12) % 3)}, name="lab:arrays")
    with pytest.raises(AssertionError):
        DatasetSuite().test_opened_again_it_has_the_same_samples_in_the_same_order(one, other)


# Probes


class TestNamedProbes(ProbeSuite):
    @pytest.fixture(params=NAMED)
    def probe(self, request: pytest.FixtureRequest) -> Any:
        return make_estimator(ProbeRequest(probe=request.param))


class TestScikitLearnsForest(ProbeSuite):
    @pytest.fixture
    def probe(self) -> Any:
        return RandomForestClassifier(10, random_state=0)


class Odd(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Right but for the fault that it is asked for."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def fit(self, X: Any, y: Any) -> Any:
        if self.fault == "numbers labels":
            y = np.unique(y, return_inverse=True)[1]
        if self.fault == "learns once" and hasattr(self, "inner_"):
            return self
        if self.fault == "writes into rows":
            X *= 0.5
        self.inner_ = GaussianNB().fit(np.nan_to_num(X, posinf=0), y)
        self.classes_ = self.inner_.classes_
        if self.fault == "changes a parameter":
            self.fault = "changed"
        return None if self.fault == "returns nothing" else self

    def predict(self, X: Any) -> Any:
        if self.fault == "at random":
            return np.random.default_rng().choice(self.classes_, len(X))
        if self.fault == "a column":
            return self.inner_.predict(X)[:, None]
        return self.inner_.predict(np.nan_to_num(X, posinf=0) if self.fault == "takes anything" else X)

    def predict_proba(self, X: Any) -> Any:
        return self.inner_.predict_proba(X) * (2 if self.fault == "sums to two" else 1)


PROBE_FAULTS = {
    "numbers labels": "labels_may_have_gaps",
    "learns once": "a_second_fit_forgets_the_first",
    "writes into rows": "rows_and_labels_are_left_as_they_were",
    "changes a parameter": "a_clone_has_the_parameters_and_fitting_changes_none",
    "returns nothing": "it_learns_classes_that_are_separable",
    "at random": "the_same_rows_give_the_same_probe",
    "a column": "it_predicts_one_known_label_a_row",
    "sums to two": "probabilities_are_those_of_every_class",
}


@pytest.mark.parametrize("fault", PROBE_FAULTS)
def test_a_faulty_probe_fails(fault: str) -> None:
    verb = getattr(ProbeSuite(), f"test_{PROBE_FAULTS[fault]}")
    verb(Odd())
    with pytest.raises(AssertionError):
        verb(Odd(fault))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_probe_that_takes_anything_fails(value: float) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        ProbeSuite().test_rows_that_are_not_finite_are_refused(clone(Odd("takes anything")), value)
