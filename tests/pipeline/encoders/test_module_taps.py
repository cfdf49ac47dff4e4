"""Taps by the names of modules, and class tokens of the last blocks: what the library computes, in one pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cryoprobe.errors import BadInput
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.base import notes_of


def loaded(model: str, *taps: str, size: int | None = None) -> tuple[Any, Any, torch.Tensor]:
    """Return an encoder, its module, and a batch for both."""
    encoder: Any = load_encoder(model, taps=taps, untrained=True, image_size=size, device="cpu")
    torch.manual_seed(0)
    x = torch.randn(3, 3, *encoder.spec(encoder.taps[0]).preprocessing.image_size)
    return encoder, encoder._tower.module, x


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def outputs_of(module: Any, names: list[str], run: Any) -> dict[str, torch.Tensor]:
    """Return what modules give out while `run` runs, kept by the test itself."""
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, out: Any) -> None:
            seen[name] = (out[0] if isinstance(out, tuple) else out).clone()

        return hook

    handles = [module.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    run()
    for handle in handles:
        handle.remove()
    return seen


FAMILIES = [
    ("timm:vit_tiny_patch16_224", 64),
    ("timm:vit_small_patch14_reg4_dinov2", 56),  # registers
    ("timm:vit_small_patch16_dinov3", 64),  # rotary positions, registers
    ("timm:deit_tiny_distilled_patch16_224", None),  # two prefix tokens
    ("timm:eva02_tiny_patch14_224", 56),  # normalised after pooling
    ("timm:beit_base_patch16_224", None),
]


@torch.no_grad()
@pytest.mark.parametrize(("model", "size"), FAMILIES)
def test_class_tokens_of_the_last_blocks_are_timms_and_dinov2s(model: str, size: int | None) -> None:
    encoder, module, x = loaded(model, "cls@4", "cls", "patch_mean", "patch_mean@2", size=size)
    randomise_norms(module)
    out = encoder.encode(x)
    # Models that pool before their norm have it as fc_norm: there `norm` is an identity.
    layers = module.forward_intermediates(
        x, indices=4, norm=True, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
    )
    norm = module.fc_norm if isinstance(module.norm, torch.nn.Identity) else torch.nn.Identity()
    close(out["cls@4"], torch.cat([norm(prefix[:, 0]) for _, prefix in layers], dim=-1))
    # As dinov2/models/vision_transformer.py, get_intermediate_layers, and dinov2/eval/linear.py, create_linear_input.
    blocks = [f"blocks.{i}" for i in range(len(module.blocks) - 4, len(module.blocks))]
    raw = outputs_of(module, blocks, lambda: module.forward_features(x))
    tokens = [norm(module.norm(raw[name])) for name in blocks]
    close(out["cls@4"], torch.cat([t[:, 0] for t in tokens], dim=-1))
    d = out["cls"].shape[1]
    close(out["cls@4"][:, 3 * d :], out["cls"])
    pooled = torch.mean(tokens[-1][:, module.num_prefix_tokens :], dim=1)
    close(out["patch_mean"], pooled)
    close(out["patch_mean@2"][:, d:], pooled)


def randomise_norms(module: Any) -> None:
    """Give norms weights of their own, so that a norm that is left out is seen."""
    for name, part in module.named_modules():
        if isinstance(part, torch.nn.LayerNorm) and part.elementwise_affine and "." not in name:
            part.weight.uniform_(0.5, 2)
            part.bias.uniform_(-1, 1)


@torch.no_grad()
def test_class_tokens_of_open_clips_last_blocks_have_its_final_norm() -> None:
    encoder, visual, x = loaded("open_clip:ViT-S-32-alt", "cls@3", "cls", "transformer.resblocks.9", "post_projection")
    randomise_norms(visual)
    names = [f"transformer.resblocks.{i}" for i in (9, 10, 11)]
    raw = outputs_of(visual, names, lambda: visual(x))
    out = encoder.encode(x)
    close(out["cls@3"], torch.cat([visual.ln_post(raw[name][:, 0]) for name in names], dim=-1))
    close(out["transformer.resblocks.9@cls"], raw[names[0]][:, 0])
    close(out["post_projection"], visual(x))


@torch.no_grad()
@pytest.mark.parametrize(
    ("model", "taps", "read"),
    [
        ("timm:test_vit", ["blocks.1@cls", "blocks.1@mean"], [lambda t: t[:, 0], lambda t: t[:, 1:].mean(1)]),
        ("timm:test_resnet", ["layer4@mean"], [lambda t: t.mean((2, 3))]),
        ("timm:test_resnet", ["global_pool@vector"], [lambda t: t]),
        ("timm:test_convnext", ["stages.1@mean"], [lambda t: t.mean((2, 3))]),
        ("timm:test_convnext", ["stages.1.blocks.0.mlp.act@mean"], [lambda t: t.mean((1, 2))]),
        ("timm:test_convnext", ["stages.1.blocks.0.conv_dw@mean"], [lambda t: t.mean((2, 3))]),
        ("timm:swin_tiny_patch4_window7_224", ["layers.1@mean"], [lambda t: t.mean((1, 2))]),
        ("timm:swin_tiny_patch4_window7_224", ["patch_embed.proj@mean"], [lambda t: t.mean((2, 3))]),
        ("timm:test_mambaout", ["stages.2@mean"], [lambda t: t.mean((1, 2))]),
        ("open_clip:vit_medium_patch16_gap_256", ["trunk.blocks.3.mlp@mean"], [lambda t: t.mean(1)]),
    ],
)
def test_a_module_is_read_as_its_layers_and_its_model_say(model: str, taps: list[str], read: list[Any]) -> None:
    name = taps[0].partition("@")[0]
    encoder, module, x = loaded(model, name, *taps[1:])
    assert encoder.taps == tuple(taps)
    expected = outputs_of(module, [name], lambda: encoder.encode(x))[name]
    out = encoder.encode(x)
    for tap, reading in zip(taps, read, strict=True):
        close(out[tap], reading(expected))


def test_what_a_name_alone_means_is_said() -> None:
    encoder, _, _ = loaded("timm:test_vit", "blocks.1")
    assert notes_of(encoder) == [
        "blocks.1 is read as blocks.1@cls, the class token of its output [n, tokens, d]; another reading: blocks.1@mean"
    ]


def test_a_pattern_fills_many_taps_in_one_pass_and_says_how_many() -> None:
    encoder, module, x = loaded("timm:test_vit", "pooled", "blocks.*", "blocks.[0-1]", "**.mlp@mean")
    depth = len(module.blocks)
    assert encoder.taps == (
        "pooled",
        *(f"blocks.{i}@cls" for i in range(depth)),
        *(f"blocks.{i}.mlp@mean" for i in range(depth)),
    )
    assert notes_of(encoder)[0] == (
        f"blocks.* is {depth} taps, blocks.0@cls … blocks.{depth - 1}@cls: {64 * depth} numbers an image, "
        f"{2 * 64 * depth / 1000:.1f} kB in float16"
    )
    passes: list[int] = []
    module.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    assert [tuple(value.shape) for value in encoder.encode(x).values()] == [(3, 64)] * (1 + 2 * depth)
    assert len(passes) == 1


def test_what_a_pattern_leaves_out_is_said() -> None:
    encoder, _, _ = loaded("timm:test_vit", "blocks.0.attn.*")
    assert "blocks.0.attn.qkv@cls" in encoder.taps
    assert not any("q_norm" in tap for tap in encoder.taps)
    (left,) = [note for note in notes_of(encoder) if note.startswith("left out")]
    assert left.startswith("left out of blocks.0.attn.*: 3 modules, such as blocks.0.attn.q_norm: its output [2, ")


def test_of_several_tensors_the_first_is_read_and_that_is_said() -> None:
    encoder, visual, x = loaded("open_clip:ViT-S-32-alt", "transformer.resblocks.3.attn@mean")
    assert notes_of(encoder)[-1] == "transformer.resblocks.3.attn returns several tensors: the first is read"
    out = outputs_of(visual, ["transformer.resblocks.3.attn"], lambda: encoder.encode(x))
    close(encoder.encode(x)[encoder.taps[0]], out["transformer.resblocks.3.attn"][:, 1:].mean(1))


@torch.no_grad()
def test_a_module_that_is_written_over_in_place_is_read_before() -> None:
    encoder, module, x = loaded("timm:test_resnet", "layer4.0.bn1")
    module.layer4[0].act1 = torch.nn.ReLU(inplace=True)
    seen = outputs_of(module, ["layer4.0.bn1"], lambda: encoder.encode(x))
    assert float(seen["layer4.0.bn1"].min()) < 0
    close(encoder.encode(x)["layer4.0.bn1@mean"], seen["layer4.0.bn1"].mean((2, 3)))


def test_two_spellings_are_one_tap_and_one_identity() -> None:
    ours, same = (load_encoder("timm:test_vit", taps=[t], untrained=True) for t in ("blocks.1", "blocks.1@cls"))
    assert ours.taps == same.taps == ("blocks.1@cls",)
    assert ours.spec(ours.taps[0]).id == same.spec(same.taps[0]).id
    assert load_encoder("timm:test_vit", taps=["cls@1"], untrained=True).taps == ("cls",)
    assert load_encoder("timm:test_vit", taps=["cls@04"], untrained=True).taps == ("cls@4",)
    plain = load_encoder("timm:test_vit", taps=["cls"], untrained=True)
    assert plain.spec("cls").id == load_encoder("timm:test_vit", taps=["cls@1"], untrained=True).spec("cls").id


@pytest.mark.parametrize(
    ("model", "taps", "message"),
    [
        ("timm:test_vit", ["block.3"], r"no module block\.3\.\nDid you mean blocks\.3 "),
        ("timm:test_vit", ["layers.*"], r"no module that matches layers\.\*"),
        ("timm:test_vit", ["blocks.1@avg"], "no reading 'avg'.*\n.*blocks.1@mean: the mean of its patch tokens"),
        ("timm:test_vit", ["blocks.1@vector"], "output is of another form.\nIt has blocks.1@cls, blocks.1@mean"),
        ("timm:test_vit", ["blocks.1", "blocks.1@cls"], "given twice: blocks.1@cls"),
        ("timm:test_vit", ["head"], "does not run by itself"),
        ("timm:test_vit", ["cls@99"], "it has 6 blocks"),
        ("timm:test_vit", ["cls@0"], "of no block"),
        ("timm:test_resnet", ["cls@4"], "it has no blocks of class and patch tokens"),
        ("open_clip:RN50", ["cls@4"], "it has no blocks of class and patch tokens"),
        ("open_clip:vit_medium_patch16_gap_256", ["cls@4"], "it has no class token"),
        ("timm:swin_tiny_patch4_window7_224", ["layers.0.blocks.0.attn"], r"\[128, 49, 96\] for 2 images is not"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(model: str, taps: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_encoder(model, taps=taps, untrained=True, device="cpu")


def test_a_tap_does_not_change_what_the_others_are() -> None:
    alone, _, x = loaded("timm:test_vit", "pooled")
    among, module, _ = loaded("timm:test_vit", "blocks.*", "fc_norm", "norm", "cls", "patch_mean", "pooled", "cls@2")
    assert torch.equal(alone.encode(x)["pooled"], among.encode(x)["pooled"])
    assert module.__dict__["_forward_hooks"] == {}
