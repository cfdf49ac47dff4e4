"""Taps of transformers' models by the names of modules, and tokens of the last blocks: what the library computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from support.tiny_models import SIDE, TOKENS, save

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.encoders import load_encoder

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
WITHOUT_CLS = ("siglip", "ijepa")
PATCHES = (SIDE // 8) ** 2
NESTED = ("clip", "siglip")
"""Kinds whose settings of images are below those of the whole."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a folder for each kind of model; those of patches have three blocks."""
    top = tmp_path_factory.mktemp("hf")
    made = {kind: save(kind, top / kind, num_hidden_layers=3) for kind in (*TOKENS, *WITHOUT_CLS) if kind not in NESTED}
    for kind in (*NESTED, "swin", "resnet", "convnext"):
        made[kind] = save(kind, top / kind)
    return made


def loaded(folder: Path, *taps: str) -> Any:
    return load_encoder(f"hf:{folder}", taps=taps, device="cpu")


def images(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def librarys_own(folder: Path) -> Any:
    model = tf.AutoModel.from_pretrained(folder).eval()
    return getattr(model, "vision_model", model)


def final_norm(kind: str, model: Any) -> Any:
    """Return what each kind applies to the tokens of its last block."""
    if kind == "beit":  # which has it in its pooler
        return model.pooler.layernorm
    names = {"dinov3": "norm", "clip": "post_layernorm", "siglip": "post_layernorm"}
    return getattr(model, names.get(kind, "layernorm"))


@torch.no_grad()
@pytest.mark.parametrize("kind", [*TOKENS, *WITHOUT_CLS])
def test_tokens_of_the_last_blocks_are_the_hidden_states_after_the_final_norm(
    kind: str, folders: dict[str, Path]
) -> None:
    taps = ["patch_mean@2", "patch_mean", *(["cls@2", "cls"] if kind in TOKENS else [])]
    found = loaded(folders[kind], *taps).encode(images())
    model = librarys_own(folders[kind])
    hidden = model(pixel_values=images(), output_hidden_states=True).hidden_states
    last = [final_norm(kind, model)(tokens) for tokens in hidden[-2:]]
    means = torch.cat([tokens[:, -PATCHES:].mean(dim=1) for tokens in last], dim=1)
    torch.testing.assert_close(found["patch_mean@2"], means, **CLOSE)
    torch.testing.assert_close(found["patch_mean"], means[:, means.shape[1] // 2 :], **CLOSE)
    if kind in TOKENS:
        tokens = torch.cat([tokens[:, 0] for tokens in last], dim=1)
        torch.testing.assert_close(found["cls@2"], tokens, **CLOSE)
        torch.testing.assert_close(found["cls"], tokens[:, tokens.shape[1] // 2 :], **CLOSE)


@torch.no_grad()
def test_every_block_is_read_in_the_one_pass_by_a_pattern(folders: dict[str, Path]) -> None:
    encoder = loaded(folders["dinov2"], "pooled", "encoder.layer.*", "encoder.layer.*@mean", "cls@2")
    assert encoder.taps == (
        "pooled",
        *(f"encoder.layer.{i}@cls" for i in range(3)),
        *(f"encoder.layer.{i}@mean" for i in range(3)),
        "cls@2",
    )
    assert encoder.notes()[0].startswith("encoder.layer.* is 3 taps, encoder.layer.0@cls … encoder.layer.2@cls: 96 ")
    passes: list[int] = []
    encoder._tower.module.embeddings.register_forward_hook(lambda *_: passes.append(1))
    found = encoder.encode(images())
    assert len(passes) == 1
    hidden = librarys_own(folders["dinov2"])(pixel_values=images(), output_hidden_states=True).hidden_states
    for i, tokens in enumerate(hidden[1:]):
        torch.testing.assert_close(found[f"encoder.layer.{i}@cls"], tokens[:, 0], **CLOSE)
        torch.testing.assert_close(found[f"encoder.layer.{i}@mean"], tokens[:, 1:].mean(dim=1), **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "tap", "stored"),
    [
        ("dinov2 with registers", "encoder.layer.1", "encoder.layer.1@cls"),
        ("deit", "layers.1.mlp", "layers.1.mlp@cls"),
        ("siglip", "encoder.layers.0", "encoder.layers.0@mean"),
        ("swin", "encoder.layers.0", "encoder.layers.0@mean"),
        ("clip", "visual_projection", "visual_projection@vector"),
        ("resnet", "encoder.stages.1", "encoder.stages.1@mean"),
        ("resnet", "pooler", "pooler@mean"),
        ("convnext", "encoder.stages.1", "encoder.stages.1@mean"),
        ("convnext", "embeddings.layernorm", "embeddings.layernorm@mean"),  # 8 channels of 8 x 8 places
    ],
)
def test_a_module_is_read_as_its_model_says(kind: str, tap: str, stored: str, folders: dict[str, Path]) -> None:
    encoder = loaded(folders[kind], tap)
    assert encoder.taps == (stored,)
    model: Any = tf.AutoModel.from_pretrained(folders[kind]).eval()
    place = model if kind == "clip" else getattr(model, "vision_model", model)
    seen: list[torch.Tensor] = []
    place.get_submodule(tap).register_forward_hook(
        lambda _module, _inputs, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    run = getattr(model, "get_image_features", model)
    run(pixel_values=images())
    out = seen[0]
    reading = stored.partition("@")[2]
    if reading == "mean":
        expected = out.mean(dim=1 if out.ndim == 3 else (2, 3))
    else:
        expected = out[:, 0] if reading == "cls" else out
    torch.testing.assert_close(encoder.encode(images())[stored], expected, **CLOSE)


@torch.no_grad()
def test_a_copy_on_another_device_has_a_norm_of_its_own(folders: dict[str, Path]) -> None:
    encoder = loaded(folders["clip"], "cls@2")
    copy, expected = encoder.on(torch.device("cpu")), encoder.encode(images())["cls@2"]
    for parameter in encoder._tower.module.parameters():
        parameter.zero_()
    torch.testing.assert_close(copy.encode(images())["cls@2"], expected, **CLOSE)


def test_further_taps_do_not_change_what_the_named_ones_are(folders: dict[str, Path]) -> None:
    alone = loaded(folders["vit"], "pooled", "cls", "patch_mean")
    among = loaded(folders["vit"], "pooled", "layers.*", "cls", "cls@2", "patch_mean", "layernorm")
    ours, theirs = alone.encode(images()), among.encode(images())
    for tap in alone.taps:
        assert torch.equal(ours[tap], theirs[tap])
        assert alone.spec(tap).id == among.spec(tap).id


@pytest.mark.parametrize(
    ("kind", "tap", "message"),
    [
        ("dinov2", "cls@4", "it has 3 blocks"),
        ("siglip", "cls@2", "it has no class token"),
        ("swin", "patch_mean@2", "it has no blocks of class and patch tokens"),
        ("resnet", "cls@2", "it has no blocks of class and patch tokens"),
        ("dinov2", "blocks.1", r"no module blocks\.1\..*\n.*such as encoder\.layer\.0, encoder\.layer\.1"),
        ("dinov3", "rope_embeddings", "is not a row for each"),
        ("vit", "layers.1@vector", "output is of another form"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(
    kind: str, tap: str, message: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(BadInput, match=message):
        loaded(folders[kind], tap)
