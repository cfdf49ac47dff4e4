"""Encoders from open_clip: the model, its weights read safely, and open_clip's own evaluation transform.

Of the two towers only the image tower is kept after loading; the identity is taken over both, before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from ...errors import BadInput
from ..encoders import hub
from ..options import PixelOptions
from ..specs import EncoderSpec, Preprocessing
from .checkpoint import read_checkpoint
from .families import EncoderRequest, ModelName
from .frozen import (
    FrozenEncoder,
    building,
    check_image_size,
    size_refused,
)
from .module_taps import tapped
from .open_clip_recipes import recipe_of
from .open_clip_towers import tower_of
from .parts import Model, Part, load_part, resampled_between, resampling_note
from .resizing import crop_fraction, cropped
from .transforms import ImageTransform, Transform, as_asked
from .unknown_names import no_weights, unknown
from .weights import weights_digest

TORCHSCRIPT_EXTRAS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's state dicts carry beside the weights."""

_OWN_FILTERS = ("bicubic", "bilinear", "random")
"""Those of open_clip's own transform, which takes the last for the first."""


def names() -> Iterable[ModelName]:
    """List what can be named: published weights, then the architectures that have none."""
    import open_clip

    published: list[tuple[str, str]] = open_clip.list_pretrained()
    yield from (ModelName("open_clip", architecture, tag, True) for architecture, tag in published)
    bare = set(open_clip.list_models()) - {architecture for architecture, _ in published}
    yield from (ModelName("open_clip", architecture) for architecture in sorted(bare))


def check(named: ModelName, *, need_weights: bool) -> None:
    """Refuse names that open_clip does not know; see `families.FamilyModule`."""
    import open_clip

    architectures: list[str] = open_clip.list_models()
    if named.architecture not in architectures:
        unknown(named.name, named.architecture, architectures, "open_clip:")
    tags: list[str] = open_clip.list_pretrained_tags_by_model(named.architecture)
    if named.tag and not open_clip.is_pretrained_cfg(named.architecture, named.tag):
        unknown(named.name, named.tag, tags, f"open_clip:{named.architecture}/")
    if need_weights and not named.tag:
        no_weights(named, tags)


def load(asked: EncoderRequest) -> FrozenEncoder:
    """Load an open_clip image tower; see `registry.load_encoder`, which checks the names first.

    A tag gives the preprocessing and the activation with which its weights were trained. With a checkpoint, the tag's
    own weights are not fetched.

    Notes
    -----
    Some architectures exist with GELU and with QuickGELU. open_clip 3 builds what the architecture's name says, and
    warns where the tag's weights were trained with QuickGELU. Here the tag decides, because the other activation
    yields features that mean nothing: ``ViT-B-32/openai`` is ``ViT-B-32-quickgelu/openai``, with the same identity.
    """
    import open_clip

    name, architecture, pixels = asked.name, asked.architecture, asked.pixels
    image_size = pixels.side
    path, key = asked.checkpoint or (None, None)
    recipe = recipe_of(architecture, asked.tag, path)
    notes = [recipe.note] if recipe.note else []
    if path is None and asked.seed is None:
        path = hub.fetch(_source(recipe.config), name, f"open_clip:{architecture}")
    read = None if path is None else read_checkpoint(path)
    with building(asked.seed or 0):
        model = _build(name, architecture, recipe.config, image_size, recipe.architecture != architecture)
        if read is not None and path is not None:
            source = name if asked.checkpoint is None else str(path)
            part = _load_weights(model, read.tensors, source, image_size, key, published=asked.checkpoint is None)
            notes += part.notes(path.name)
        notes += _resize_trunk(model, name, image_size, said=read is not None)
    tower = tower_of(model.visual)
    config = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    transform, preprocessing = as_asked(*_prepared(config, pixels, name), pixels)
    if image_size is not None:
        model.eval()
        check_image_size(tower, name, config.input_size[1:])
    reader, chosen, said = tapped(tower, asked.taps, "post_projection", name, config.input_size[1:])
    return FrozenEncoder(
        name=name,
        tower=reader,
        taps=chosen,
        transform=transform,
        identity=EncoderSpec(
            family="open_clip",
            architecture=recipe.architecture,
            weights=weights_digest(model.state_dict()),
            preprocessing=preprocessing,
            tap=chosen[0],
        ),
        compute=asked.compute,
        seed=asked.seed,
        checkpoint_sha256=None if asked.checkpoint is None or read is None else read.sha256,
        notes=[*notes, *said],
    )


def _source(recipe: Mapping[str, Any]) -> hub.Source:
    if not recipe.get("hf_hub"):
        return hub.Source(url=recipe.get("url", ""))
    repo, _, filename = recipe["hf_hub"].rpartition("/")
    names = hub.hub_filenames("open_clip_pytorch_model.bin", ("open_clip_model.safetensors",), filename)
    return hub.Source(repo=repo, filenames=names)


def _build(name: str, architecture: str, recipe: Mapping[str, Any], image_size: int | None, quick_gelu: bool) -> Any:
    import open_clip

    has_trunk = "timm_model_name" in open_clip.get_model_config(architecture)["vision_cfg"]
    try:
        return open_clip.create_model(
            architecture,
            precision="fp32",
            device="cpu",
            force_quick_gelu=quick_gelu,
            # A timm trunk is resized after its weights are in, as open_clip does it.
            force_image_size=None if has_trunk else image_size,
            force_preprocess_cfg=dict(recipe),
            pretrained_hf=False,
        )
    except Exception as error:  # text towers from transformers, sizes below one patch …
        detail = str(error).strip().split("\n")[0]
        if image_size is not None:
            raise size_refused(name, image_size, detail) from error
        raise BadInput(f"open_clip cannot build {architecture}: {detail}", key=name) from error


def _load_weights(
    model: Any,
    tensors: Mapping[str, torch.Tensor],
    source: str,
    image_size: int | None,
    key: str | None,
    *,
    published: bool,
) -> Part:
    """Do what open_clip's ``load_checkpoint`` does, with tensors that were read safely."""
    pool = "visual.attnpool.positional_embedding"
    own = model.state_dict()

    def prepare(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        state = _converted(model, state)
        if image_size is not None and pool in state and pool in own and state[pool].shape != own[pool].shape:
            raise size_refused(source, image_size, "the positions of its attention pool cannot be resampled")
        return state

    return load_part(tensors, Model(model, prepare), source, key=key, published=published)


def _converted(model: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict with the model's keys and sizes; as far as it gets, of another model's."""
    from open_clip import factory

    for extra in TORCHSCRIPT_EXTRAS:
        state.pop(extra, None)
    try:
        state = factory.convert_state_dict(model, state)
        if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
            state = factory.convert_to_custom_text_state_dict(state)
        for key in ("logit_scale", "logit_bias"):  # a scalar, or one element
            if key in state and getattr(model, key, None) is not None:
                state[key] = state[key].reshape(getattr(model, key).shape)
        if "logit_bias" not in state and model.logit_bias is not None and "logit_scale" in state:
            state["logit_bias"] = torch.zeros_like(state["logit_scale"])
        position_ids = "text.transformer.embeddings.position_ids"  # transformers wrote it until 4.31
        if position_ids not in model.state_dict():
            state.pop(position_ids, None)
        factory.resize_pos_embed(state, model)
        factory.resize_text_pos_embed(state, model)
    except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, ValueError):
        pass  # `parts` tells what does not fit
    return state


def _resize_trunk(model: Any, name: str, image_size: int | None, *, said: bool) -> list[str]:
    """Bring a timm trunk to a size; return what is to be said of it: its positions are resampled."""
    visual = model.visual
    if image_size is None or not hasattr(visual, "trunk"):
        return []
    before = visual.state_dict()
    try:
        visual.set_input_size(image_size)
    except Exception as error:  # trunks that are built for one size raise what they like
        raise size_refused(name, image_size, error) from error
    visual.preprocess_cfg["size"] = (image_size, image_size)
    changed = resampled_between(before, visual.state_dict())
    return [resampling_note(changed)] if said and changed else []


def _prepared(config: Any, pixels: PixelOptions, name: str) -> tuple[Transform, Preprocessing]:
    """Return open_clip's transform, with what is asked for otherwise, and what describes it."""
    from open_clip import transform as own

    by = pixels.interpolation or config.interpolation
    sides = cropped(pixels, config.input_size[1:], name)
    if sides is None:
        if by not in _OWN_FILTERS:
            raise BadInput(
                f"open_clip's preprocessing of {name} has no filter {by}.",
                hint="Take bicubic or bilinear; or give --resize and --crop too.",
                key="interpolation",
            )
        config = replace(config, interpolation=by)
        return own.image_transform_v2(config, is_train=False), _preprocessing(config)
    resize, crop = sides
    steps = [
        own.Resize(resize, interpolation=own.InterpolationMode(by if by != "random" else "bicubic")),
        own.CenterCrop((crop, crop)),
        own.MaybeConvertMode(),
        own.MaybeToTensor(),
        own.Normalize(mean=config.mean, std=config.std),
    ]
    described = _preprocessing(replace(config, size=crop, resize_mode="shortest", interpolation=by))
    return own.Compose(steps), described.model_copy(update={"crop_fraction": crop_fraction(resize, crop)})


def preprocessing_of(named: ModelName, pixels: PixelOptions, name: str) -> tuple[ImageTransform, Preprocessing]:
    """Return the preprocessing of published weights of open_clip, for another encoder."""
    import open_clip

    size = pixels.side or open_clip.get_model_config(named.architecture)["vision_cfg"].get("image_size", 224)
    known = recipe_of(named.architecture, named.tag, None).config
    fields = {field: known[field] for field in ("mean", "std", "interpolation", "resize_mode") if known.get(field)}
    transform, described = _prepared(open_clip.transform.PreprocessCfg(size=size, **fields), pixels, name)
    return as_asked(transform, described, pixels)


def _preprocessing(config: Any) -> Preprocessing:
    fill = f", fill {config.fill_color}" if config.resize_mode == "longest" else ""
    return Preprocessing(
        library="open_clip",
        image_size=tuple(config.input_size[1:]),
        resize_mode=config.resize_mode + fill,
        crop_fraction=1.0,  # the shortest side becomes the crop's; nothing is cut off that side
        interpolation=config.interpolation,
        mean=tuple(config.mean),
        std=tuple(config.std),
        color_mode="RGB, converted after resize and crop",
    )
