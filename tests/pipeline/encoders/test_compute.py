"""Precision: what is computed in it, and that it is part of the identity."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.base import Encoder
from cryoprobe.pipeline.encoders.compute import products


def tiny(**options: Any) -> Encoder:
    return load_encoder("timm:vit_tiny_patch16_224", untrained=True, device="cpu", **options)


IMAGES = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_narrow_precision_gives_features_near_those_of_fp32_and_another_id(precision: str) -> None:
    right, narrow = tiny(), tiny(precision=precision)
    expected, found = (
        torch.nn.functional.normalize(e.encode(IMAGES)["pooled"].double(), dim=1) for e in (right, narrow)
    )
    distances = (expected - found).norm(dim=1)
    assert 0 < float(distances.max()) < 0.05
    assert narrow.encode(IMAGES)["pooled"].dtype == torch.float32
    assert narrow.spec("pooled").precision == precision
    assert narrow.spec("pooled").id != right.spec("pooled").id


def test_weights_and_activations_have_the_precision() -> None:
    encoder: Any = tiny(precision="bf16")
    module = encoder._tower.module
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    seen = []
    module.blocks[3].register_forward_hook(lambda *given: seen.append(given[2].dtype))
    encoder.encode(IMAGES[:1])
    assert seen == [torch.bfloat16]


def test_the_identity_is_that_of_the_weights_before_they_are_narrowed() -> None:
    assert tiny().spec("pooled").weights == tiny(precision="bf16").spec("pooled").weights


def test_fp32_is_the_default_and_stays_out_of_what_is_hashed() -> None:
    assert "precision" not in tiny().spec("pooled").written


def test_fp32_is_not_downcast_by_the_settings_of_a_program() -> None:
    expected = tiny().encode(IMAGES)["pooled"].numpy()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = tiny().encode(IMAGES)["pooled"].numpy()
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("precision", "words"), [("tf32", "CUDA"), ("int8", "no precision 'int8'")])
def test_what_a_device_cannot_do_is_refused(precision: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        tiny(precision=precision)


def test_threads_that_compute_at_once_keep_the_arithmetic_until_the_last_one_is_through() -> None:
    def precisions() -> set[str]:
        backends: Any = torch.backends
        switches = (backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv)
        return {switch.fp32_precision for switch in switches}

    before, inside, leave = precisions(), threading.Event(), threading.Event()

    def other() -> None:
        with products("ieee"):
            inside.set()
            leave.wait(10)
            seen.append(precisions())

    seen: list[set[str]] = []
    thread = threading.Thread(target=other)
    with products("ieee"):
        thread.start()
        assert inside.wait(10)
        with products("ieee"):
            pass
        assert precisions() == {"ieee"}
    assert precisions() == {"ieee"}  # the other one is still at it
    leave.set()
    thread.join()
    assert seen == [{"ieee"}]
    assert precisions() == before


def test_another_arithmetic_waits_for_those_that_compute() -> None:
    order: list[str] = []

    def other() -> None:
        with products("tf32"):
            order.append("tf32")

    thread = threading.Thread(target=other)
    with products("ieee"):
        thread.start()
        thread.join(0.2)
        order.append("ieee")
    thread.join(10)
    assert order == ["ieee", "tf32"]
