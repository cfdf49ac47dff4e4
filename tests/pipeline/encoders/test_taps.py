"""Taps: each is what the library itself computes, and one pass of the trunk fills them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.encoders import default_tap, load_encoder
from cryoprobe.pipeline.encoders.base import Encoder

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def saved_clip(architecture: str, path: Path) -> Any:
    """Build open_clip's own model with random weights, and save them."""
    torch.manual_seed(5)
    model: Any = open_clip.create_model(architecture).eval()
    torch.save(model.state_dict(), path)
    return model


def a_batch(encoder: Encoder) -> torch.Tensor:
    return torch.randn(2, 3, *encoder.spec(encoder.taps[0]).preprocessing.image_size)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(actual, expected, **TOLERANCE)


@torch.no_grad()
def test_vision_transformer_taps_are_open_clips_own(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    model = saved_clip("ViT-S-32-alt", path)
    taps = ["patch_mean", "cls", "pre_projection", "post_projection"]
    encoder = load_encoder("open_clip:ViT-S-32-alt", taps=taps, checkpoint=path, device="cpu")
    x = a_batch(encoder)
    out = encoder.encode(x)
    assert list(out) == taps
    close(out["post_projection"], model.encode_image(x))
    close(out["pre_projection"] @ model.visual.proj, model.encode_image(x))
    tokens = model.visual.ln_post(model.visual.transformer(model.visual._embeds(x)))
    close(out["cls"], tokens[:, 0])
    close(out["patch_mean"], tokens[:, 1:].mean(dim=1))

    smaller = load_encoder("open_clip:ViT-S-32-alt", checkpoint=path, image_size=96, device="cpu")
    resized = open_clip.create_model("ViT-S-32-alt", pretrained=str(path), force_image_size=96).eval()
    x = a_batch(smaller)
    assert x.shape == (2, 3, 96, 96)
    close(smaller.encode(x)["post_projection"], resized.encode_image(x))


@torch.no_grad()
def test_resnet_taps_are_open_clips_own_with_the_activation_of_the_tag(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    model = saved_clip("RN50-quickgelu", path)
    taps = ["post_projection", "pre_projection"]
    encoder = load_encoder("open_clip:RN50/openai", taps=taps, checkpoint=path, device="cpu")
    assert encoder.spec("post_projection").architecture == "RN50-quickgelu"
    x = a_batch(encoder)
    out = encoder.encode(x)
    close(out["post_projection"], model.encode_image(x))
    close(model.visual.attnpool.c_proj(out["pre_projection"]), model.encode_image(x))
    with pytest.raises(BadInput, match="attention pool cannot be resampled"):
        load_encoder("open_clip:RN50/openai", checkpoint=path, image_size=96)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["vit_medium_patch16_gap_256", "MobileCLIP2-S0"])
def test_timm_trunk_taps_are_open_clips_own(architecture: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    model = saved_clip(architecture, path)
    taps = ["post_projection", "pre_projection"]
    encoder = load_encoder(f"open_clip:{architecture}", taps=taps, checkpoint=path, device="cpu")
    x = a_batch(encoder)
    out = encoder.encode(x)
    close(out["post_projection"], model.encode_image(x))
    project = model.visual.head if len(model.visual.head) else model.visual.trunk.get_classifier()
    close(project(out["pre_projection"]), model.encode_image(x))


@torch.no_grad()
def test_timm_taps_are_timms_own() -> None:
    name = "vit_tiny_patch16_224"
    encoder = load_encoder(f"timm:{name}", taps=["pooled", "cls", "patch_mean"], untrained=True, seed=4, device="cpu")
    model: Any = timm.create_model(name, num_classes=0)
    model.load_state_dict(encoder._tower.module.state_dict())  # type: ignore[attr-defined]
    model.eval()
    x = torch.randn(2, 3, 224, 224)
    out = encoder.encode(x)
    tokens = model.forward_features(x)
    close(out["pooled"], model.forward_head(tokens, pre_logits=True))
    close(out["cls"], tokens[:, 0])
    close(out["patch_mean"], tokens[:, 1:].mean(dim=1))


@torch.no_grad()
def test_register_tokens_are_not_patches() -> None:
    encoder = load_encoder("timm:vit_small_patch14_reg4_dinov2", taps=["patch_mean"], untrained=True, image_size=56)
    tower: Any = encoder._tower  # type: ignore[attr-defined]
    x = torch.randn(1, 3, 56, 56, device=encoder.device)  # type: ignore[attr-defined]
    tokens = tower.module.forward_features(x)
    assert tokens.shape[1] == 1 + 4 + 16
    close(encoder.encode(x)["patch_mean"], tokens[:, 5:].mean(dim=1).cpu())


@torch.no_grad()
def test_models_that_pool_before_their_norm_apply_it_to_tokens() -> None:
    encoder = load_encoder("timm:eva02_tiny_patch14_224", taps=["cls", "patch_mean"], untrained=True, device="cpu")
    module: Any = encoder._tower.module  # type: ignore[attr-defined]
    assert isinstance(module.norm, torch.nn.Identity)
    module.fc_norm.bias.fill_(0.5)
    x = a_batch(encoder)
    tokens, out = module.forward_features(x), encoder.encode(x)
    close(out["cls"], module.fc_norm(tokens[:, 0]))
    close(out["patch_mean"], module.fc_norm(tokens[:, 1:]).mean(dim=1))


@pytest.mark.parametrize(
    ("model", "taps", "trunk"),
    [
        ("open_clip:ViT-S-32-alt", ["post_projection", "pre_projection", "cls", "patch_mean"], "transformer"),
        ("timm:vit_tiny_patch16_224", ["pooled", "cls", "patch_mean"], "blocks"),
    ],
)
def test_one_pass_of_the_trunk_fills_all_taps(model: str, taps: list[str], trunk: str) -> None:
    encoder = load_encoder(model, taps=taps, untrained=True, device="cpu")
    passes: list[int] = []
    block = encoder._tower.module.get_submodule(trunk)  # type: ignore[attr-defined]
    block.register_forward_hook(lambda *_: passes.append(1))
    assert list(encoder.encode(torch.randn(2, 3, 224, 224))) == taps
    assert len(passes) == 1


def test_features_are_plain_float32_cpu_tensors_and_repeat() -> None:
    encoder = load_encoder("timm:test_resnet", untrained=True, device="cpu")
    x = torch.randn(3, 3, *encoder.spec("pooled").preprocessing.image_size)
    first, second = encoder.encode(x)["pooled"], encoder.encode(x)["pooled"]
    assert first.dtype == torch.float32
    assert first.shape[0] == 3
    assert not first.requires_grad
    assert torch.equal(first, second)
    first /= first.norm(dim=1, keepdim=True)  # an inference tensor would refuse


def test_encoding_leaves_the_float32_switches_as_they_were() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    encoder = load_encoder("timm:test_resnet", untrained=True, device="cpu")
    encoder.encode(torch.randn(1, 3, *encoder.spec("pooled").preprocessing.image_size))
    assert (matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_default_taps() -> None:
    assert default_tap("open_clip:ViT-B-32/openai") == "post_projection"
    assert default_tap("timm:resnet10t") == "pooled"
    assert default_tap("quickstart:efficientnet_lite0") == "pooled"
    assert load_encoder("timm:test_resnet", untrained=True).taps == ("pooled",)


@pytest.mark.parametrize(
    ("model", "taps", "message"),
    [
        ("timm:test_resnet", ["cls"], "Taps of this model: pooled$"),
        ("timm:vit_tiny_patch16_224", ["post_projection"], "Taps of this model: pooled, cls, patch_mean"),
        ("open_clip:ViT-S-32-alt", ["pooled"], "Taps of this model: post_projection, pre_projection, cls, patch_mean"),
        ("timm:test_resnet", ["pooled", "pooled"], "given twice"),
        ("timm:test_resnet", ["logits"], "Taps of this model: pooled, and its modules"),
        ("timm:test_vit", ["cls+patch_mean"], "a comma between them: --tap cls,patch_mean"),
    ],
)
def test_taps_that_a_model_lacks_are_refused_with_those_it_has(model: str, taps: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_encoder(model, taps=taps, untrained=True)
