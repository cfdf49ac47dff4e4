"""Encoders of transformers: their features are the library's own, and their identity is their content."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from support.tiny_models import MODELS, SIDE, TOKENS, build, picture, save, save_processor

import cryoprobe
from cryoprobe.errors import BadInput, NotFound
from cryoprobe.pipeline.encoders import load_encoder
from cryoprobe.pipeline.encoders.registry import list_models
from cryoprobe.testing import EncoderSuite

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a folder for each kind of model."""
    top = tmp_path_factory.mktemp("hf")
    return {kind: save(kind, top / kind.replace(" ", "-")) for kind in MODELS}


def loaded(folder: Path, **options: Any) -> Any:
    return load_encoder(f"hf:{folder}", device="cpu", **options)


def features(folder: Path, **options: Any) -> torch.Tensor:
    encoder = loaded(folder, **options)
    x = torch.stack([encoder.preprocess(picture(size=size)) for size in ((61, 47), (30, 90))])
    return encoder.encode(x)[encoder.taps[0]]


@torch.no_grad()
def librarys_own(kind: str, folder: Path, images: list[Any]) -> torch.Tensor:
    """Return what transformers itself gives for images, one by one, with `AutoModel` and `AutoImageProcessor`."""
    processor, model = tf.AutoImageProcessor.from_pretrained(folder), tf.AutoModel.from_pretrained(folder).eval()
    rows = []
    for image in images:
        given = processor(image, return_tensors="pt")
        if kind in ("clip", "siglip"):
            found = model.get_image_features(**given)
            rows.append(getattr(found, "pooler_output", found))
        elif kind == "vit classifier":  # AutoModel draws a pooler at random
            rows.append(model(**given).last_hidden_state[:, 0])
        else:
            found = model(**given)
            pooled = getattr(found, "pooler_output", None)
            rows.append(found.last_hidden_state.mean(dim=1) if pooled is None else pooled.flatten(1))
    return torch.cat(rows)


@pytest.mark.parametrize("kind", MODELS)
def test_features_are_the_librarys_own(kind: str, folders: dict[str, Path]) -> None:
    images = [picture(size=size) for size in ((61, 47), (32, 32), (17, 131), (200, 33))]
    encoder = loaded(folders[kind])
    together = encoder.encode(torch.stack([encoder.preprocess(image) for image in images]))[encoder.taps[0]]
    torch.testing.assert_close(together, librarys_own(kind, folders[kind], images), **CLOSE)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("kind", ["dinov2", "vit", "dinov3"])
def test_images_of_any_mode_are_prepared_as_the_processor_does(kind: str, mode: str, folders: dict[str, Path]) -> None:
    encoder, processor = loaded(folders[kind]), tf.AutoImageProcessor.from_pretrained(folders[kind])
    image = picture(mode)
    # A processor that does not convert fails on what is not RGB.
    given = image if processor.to_dict().get("do_convert_rgb") else image.convert("RGB")
    assert torch.equal(encoder.preprocess(image), processor(given, return_tensors="pt")["pixel_values"][0])


def test_an_image_of_one_pixels_width_is_prepared_as_the_processor_does(folders: dict[str, Path]) -> None:
    processor = tf.AutoImageProcessor.from_pretrained(folders["vit"])
    image = picture(size=(1, 9))
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(loaded(folders["vit"]).preprocess(image), expected)


def test_preprocessing_may_run_in_threads(folders: dict[str, Path]) -> None:
    encoder = loaded(folders["dinov2"])
    pictures = [picture(mode, seed=seed) for mode in ("RGB", "L", "RGBA") for seed in range(12)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(encoder.preprocess, pictures))
    assert all(torch.equal(a, encoder.preprocess(b)) for a, b in zip(together, pictures, strict=True))


@pytest.mark.parametrize("kind", MODELS)
def test_a_batch_gives_what_each_image_gives_alone(kind: str, folders: dict[str, Path]) -> None:
    encoder = loaded(folders[kind])
    x = torch.randn(7, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    tap = encoder.taps[0]
    alone = torch.cat([encoder.encode(one[None])[tap] for one in x])
    torch.testing.assert_close(encoder.encode(x)[tap], alone, **CLOSE)


@pytest.mark.parametrize("kind", MODELS)
def test_bfloat16_is_near_float32_and_another_encoder(kind: str, folders: dict[str, Path]) -> None:
    full, half = loaded(folders[kind]), loaded(folders[kind], precision="bf16")
    x = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    tap = full.taps[0]
    a, b = full.encode(x)[tap], half.encode(x)[tap]
    assert torch.cosine_similarity(a, b).min() > 0.98
    assert not torch.equal(a, b)
    assert full.spec(tap).id != half.spec(tap).id


@torch.no_grad()
@pytest.mark.parametrize("kind", TOKENS)
def test_token_taps_are_the_librarys_last_tokens_after_the_final_norm(kind: str, folders: dict[str, Path]) -> None:
    encoder = loaded(folders[kind], taps=["cls", "patch_mean"])
    x = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    model = tf.AutoModel.from_pretrained(folders[kind]).eval()
    norm: Any = torch.nn.Identity()
    if kind == "clip":
        model = model.vision_model
        norm = model.post_layernorm
    if kind == "beit":
        norm = model.pooler.layernorm
    tokens = norm(model(pixel_values=x).last_hidden_state)
    patches = (SIDE // 8) ** 2
    found = encoder.encode(x)
    torch.testing.assert_close(found["cls"], tokens[:, 0], **CLOSE)
    torch.testing.assert_close(found["patch_mean"], tokens[:, -patches:].mean(dim=1), **CLOSE)


@torch.no_grad()
def test_the_taps_of_clip_lie_before_and_after_its_projection(folders: dict[str, Path]) -> None:
    encoder = loaded(folders["clip"], taps=["pre_projection", "post_projection"])
    x = torch.randn(2, 3, SIDE, SIDE)
    model = tf.CLIPModel.from_pretrained(folders["clip"]).eval()
    found = encoder.encode(x)
    torch.testing.assert_close(found["pre_projection"], model.vision_model(pixel_values=x).pooler_output, **CLOSE)
    torch.testing.assert_close(model.visual_projection(found["pre_projection"]), found["post_projection"], **CLOSE)


@pytest.mark.parametrize(
    ("kind", "tap", "have"), [("siglip", "cls", "post_projection, patch_mean"), ("resnet", "patch_mean", "pooled")]
)
def test_a_tap_that_a_model_lacks_is_refused_with_those_it_has(
    kind: str, tap: str, have: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(BadInput, match=f"has no tap {tap}.*\nTaps of this model: {have}"):
        loaded(folders[kind], taps=[tap])


def test_a_pooler_without_weights_is_not_drawn_at_random_but_left_out(folders: dict[str, Path]) -> None:
    encoder = loaded(folders["vit classifier"], taps=["pooled", "cls"])
    found = encoder.encode(torch.randn(2, 3, SIDE, SIDE))
    assert torch.equal(found["pooled"], found["cls"])
    assert any("no trained pooler: the tap pooled is the class token" in note for note in encoder.notes())
    assert "classifier.*" in encoder.notes()[0]
    assert loaded(folders["vit"]).notes() == ()


class TestSuite(EncoderSuite):
    @pytest.fixture
    def encoder(self, folders: dict[str, Path]) -> Any:
        return loaded(folders["dinov2"], taps=["pooled", "patch_mean"])

    @pytest.fixture
    def same_encoder(self, folders: dict[str, Path]) -> Any:
        return loaded(folders["dinov2"], taps=["pooled", "patch_mean"])

    @pytest.fixture
    def other_encoder(self, folders: dict[str, Path], tmp_path: Path) -> Any:
        return loaded(save("dinov2", tmp_path / "other", seed=1), taps=["pooled", "patch_mean"])


# Identity


def spec_of(folder: Path | str, **options: Any) -> Any:
    encoder = load_encoder(f"hf:{folder}", device="cpu", **options)
    return encoder.spec(encoder.taps[0])


def test_the_same_weights_have_one_id_wherever_they_are(folders: dict[str, Path], tmp_path: Path) -> None:
    usual = spec_of(folders["dinov2"])
    copied = shutil.copytree(folders["dinov2"], tmp_path / "copy")
    assert spec_of(copied) == usual
    config_only = shutil.copytree(folders["dinov2"], tmp_path / "bare")
    weights = (config_only / "model.safetensors").rename(tmp_path / "weights.safetensors")
    assert spec_of(config_only, checkpoint=weights) == usual
    save_file({f"module.{k}": v for k, v in load_file(weights).items()}, tmp_path / "wrapped.safetensors")
    assert spec_of(config_only, checkpoint=tmp_path / "wrapped.safetensors") == usual
    torch.save(load_file(weights), config_only / "pytorch_model.bin")
    assert spec_of(config_only) == usual
    shutil.rmtree(config_only)
    build("dinov2").save_pretrained(tmp_path / "sharded", max_shard_size="40KB")
    save_processor("dinov2", tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    assert spec_of(tmp_path / "sharded") == usual


def test_the_image_tower_alone_is_the_same_encoder_as_that_of_both_towers(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    for kind, cls in (("clip", "CLIPVisionModelWithProjection"), ("siglip", "SiglipVisionModel")):
        getattr(tf, cls).from_pretrained(folders[kind]).save_pretrained(tmp_path / kind)
        save_processor(kind, tmp_path / kind)
        assert spec_of(tmp_path / kind) == spec_of(folders[kind])


def test_rounded_weights_are_other_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    build("vit").half().save_pretrained(tmp_path / "half")
    save_processor("vit", tmp_path / "half")
    usual, half = spec_of(folders["vit"]), spec_of(tmp_path / "half")
    assert usual.weights != half.weights
    assert usual.model_copy(update={"weights": half.weights}) == half  # and float32 computes


def test_what_changes_numbers_changes_the_id(folders: dict[str, Path], tmp_path: Path) -> None:
    def changed(file: str, **fields: Any) -> str:
        folder = shutil.copytree(folders["vit"], tmp_path / "changed", dirs_exist_ok=True)
        settings = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(settings | fields))
        found = spec_of(folder).id
        shutil.rmtree(folder)
        return str(found)

    usual = spec_of(folders["vit"]).id
    processor = "preprocessor_config.json"
    others = [
        changed("config.json", num_attention_heads=4),
        changed("config.json", layer_norm_eps=1e-3),
        changed("config.json", hidden_act="relu"),
        changed(processor, resample=3),
        changed(processor, rescale_factor=1 / 127.5),
        changed(processor, image_mean=[0.4, 0.5, 0.6]),
        changed(processor, image_processor_type="DeiTImageProcessor", do_center_crop=False),
        changed(processor, do_convert_rgb=True),
        changed(
            processor, size={"height": 40, "width": 40}, do_center_crop=True, crop_size={"height": 32, "width": 32}
        ),
    ]
    assert len({usual, *others}) == 1 + len(others)
    assert changed("config.json", hidden_dropout_prob=0.5, id2label={"0": "cat"}, architectures=["X"]) == usual
    assert changed(processor, processor_class="Other", image_processor_type="ViTImageProcessorFast") == usual


def test_random_weights_are_the_same_for_the_same_seed(folders: dict[str, Path]) -> None:
    first, again, other = (spec_of(folders["vit"], untrained=True, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.weights != other.weights
    assert first.weights != spec_of(folders["vit"]).weights


# What may be asked otherwise


@torch.no_grad()
@pytest.mark.parametrize("kind", ["vit", "dinov2", "siglip", "clip"])
def test_another_input_size_interpolates_positions_as_the_library_does(kind: str, folders: dict[str, Path]) -> None:
    encoder = loaded(folders[kind], image_size=48)
    image = picture()
    x = encoder.preprocess(image)[None]
    assert x.shape == (1, 3, 48, 48)
    model = tf.AutoModel.from_pretrained(folders[kind]).eval()
    more = {} if kind == "dinov2" else {"interpolate_pos_encoding": True}
    if kind in ("clip", "siglip"):
        found = model.get_image_features(pixel_values=x, **more)
        expected = getattr(found, "pooler_output", found)
    else:
        expected = model(pixel_values=x, **more).pooler_output
    torch.testing.assert_close(encoder.encode(x)[encoder.taps[0]], expected, **CLOSE)


def test_options_of_pixels_are_the_processors_own_settings(folders: dict[str, Path]) -> None:
    image = picture("RGBA", (90, 61))
    processor = tf.AutoImageProcessor.from_pretrained(folders["dinov2"])
    crop = {"height": 32, "width": 32}

    def given(**settings: Any) -> torch.Tensor:
        return processor(image, return_tensors="pt", **settings)["pixel_values"][0]

    for options, settings in (
        ({"resize": 50, "crop": 32}, {"size": {"shortest_edge": 50}, "crop_size": crop}),
        ({"interpolation": "lanczos"}, {"resample": 1}),
        ({"image_size": 64}, {"size": {"shortest_edge": 80}, "crop_size": {"height": 64, "width": 64}}),
    ):
        encoder = loaded(folders["dinov2"], **options)
        assert torch.equal(encoder.preprocess(image), given(**settings)), options
    black = loaded(folders["dinov2"], background="black")
    assert not torch.equal(black.preprocess(image), given())
    assert black.spec("pooled").preprocessing.background == "black"


def test_a_resizing_that_a_processor_does_not_have_is_refused_by_name(folders: dict[str, Path]) -> None:
    with pytest.raises(BadInput, match=r"ConvNextImageProcessor .* has no --resize: it resizes in a way of its own"):
        loaded(folders["convnext"], resize=50, crop=32)


def test_images_may_be_prepared_as_for_another_model(folders: dict[str, Path], tmp_path: Path) -> None:
    bare = shutil.copytree(folders["vit"], tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(NotFound, match=r"has no preprocessor_config\.json"):
        loaded(bare)
    other = loaded(bare, preprocess=str(folders["vit"] / "preprocessor_config.json"))
    assert other.spec("pooled") == spec_of(folders["vit"])
    timms = load_encoder("timm:test_vit", untrained=True, image_size=32, device="cpu")
    as_timm = loaded(bare, preprocess="timm:test_vit", image_size=32)
    assert as_timm.spec("pooled").preprocessing == timms.spec("pooled").preprocessing
    assert torch.equal(as_timm.preprocess(picture()), timms.preprocess(picture()))
    clip = load_encoder("open_clip:ViT-B-32-quickgelu", untrained=True, device="cpu", image_size=32)
    as_clip = loaded(bare, preprocess="open_clip:ViT-B-32/openai", image_size=32)
    assert as_clip.spec("pooled").preprocessing == clip.spec("post_projection").preprocessing
    assert torch.equal(as_clip.preprocess(picture()), clip.preprocess(picture()))
    with pytest.raises(BadInput, match="takes no --preprocess"):
        load_encoder("timm:test_vit", untrained=True, preprocess="timm:resnet10t")


# What is refused


def edited(folder: Path, to: Path, **fields: Any) -> Path:
    shutil.copytree(folder, to)
    config = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(config | fields))
    return to


def test_code_of_a_repository_is_never_run(folders: dict[str, Path], tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n"
    remote = edited(
        folders["vit"],
        tmp_path / "remote",
        model_type="their_vit",
        auto_map={"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"},
    )
    (remote / "theirs.py").write_text(code)
    with pytest.raises(BadInput, match=r"needs code of its repository .their_vit., and no code of a repository is run"):
        loaded(remote)
    processor = shutil.copytree(folders["vit"], tmp_path / "processor")
    file = processor / "preprocessor_config.json"
    theirs = {"image_processor_type": "TheirProcessor", "auto_map": {"AutoImageProcessor": "theirs.TheirProcessor"}}
    file.write_text(json.dumps(json.loads(file.read_text()) | theirs))
    (processor / "theirs.py").write_text(code)
    with pytest.raises(BadInput, match="cannot load the image processor"):
        loaded(processor)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "vit_of_tomorrow"}, "has no model of the kind 'vit_of_tomorrow'"),
        ({"model_type": "bert"}, "knows no image encoder of that kind"),
        ({"model_type": "vit_mae"}, "masks three quarters of an image at random"),
        ({"hidden_size": 64}, "do not fit"),
        ({"num_hidden_layers": 3}, "do not fit .* missing"),
        ({"num_hidden_layers": 1}, "do not fit .* unexpected"),
    ],
)
def test_what_cannot_be_loaded_is_said(
    fields: dict[str, Any], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        loaded(edited(folders["vit"], tmp_path / "other", **fields))


def test_folders_that_lack_something_are_told_what(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not there"):
        loaded(tmp_path / "absent")
    with pytest.raises(NotFound, match=r"has no config\.json"):
        loaded(tmp_path)
    with pytest.raises(NotFound, match="repositories of the hub are called OWNER/NAME"):
        load_encoder("hf:tiny")
    bare = shutil.copytree(folders["vit"], tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    with pytest.raises(NotFound, match=r"has no weights .*\n.*--checkpoint FILE"):
        loaded(bare)
    index = {"weight_map": {"a": "../vit/model.safetensors"}}
    (bare / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match="no weights in its own folder"):
        loaded(bare)


def test_pickled_objects_in_a_repositorys_weights_are_never_made(folders: dict[str, Path], tmp_path: Path) -> None:
    bare = shutil.copytree(folders["vit"], tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    torch.save(build("vit"), bare / "pytorch_model.bin")
    with pytest.raises(BadInput, match="nothing is ever unpickled"):
        loaded(bare)


def test_a_model_of_the_hub_that_cannot_be_had_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotFound) as caught:
        load_encoder("hf:facebook/dinov2-small")
    assert "https://huggingface.co/facebook/dinov2-small (config.json)" in str(caught.value)
    assert "hf download facebook/dinov2-small --local-dir DIR, and name it as hf:DIR" in str(caught.value)


def test_a_model_in_the_hubs_cache_needs_no_network(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    repo = tmp_path / "models--lab--tiny"
    shutil.copytree(folders["vit"], repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert spec_of("lab/tiny") == spec_of(folders["vit"])
    assert "hf:lab/tiny" in [named.name for named in list_models("hf:")]


def test_names_of_the_hub_are_offered_beside_timms(tmp_path: Path) -> None:
    for name, near in (
        ("facebook/dinov2-small", "timm:vit_small_patch14_dinov2 or hf:facebook/dinov2-small"),
        ("lab/some-vit", "hf:lab/some-vit"),
    ):
        with pytest.raises(BadInput, match=re.escape(f"Did you mean {near}")):
            load_encoder(name)
    listed = [named.name for named in cryoprobe.list_models("hf:")]
    assert {"hf:FOLDER", "hf:OWNER/NAME", "hf:facebook/dinov2-small"} <= {*listed}
