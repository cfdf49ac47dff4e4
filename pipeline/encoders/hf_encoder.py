"""Encoders from transformers: an image encoder of a folder or of the hub, with its own image processor.

Of models with two towers only the image tower is built. Its identity is the class with all settings that change what
it computes, the weights by the names that transformers has for them, in float32, and the processor; where the files
lie is no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...errors import BadInput, NotFound
from ..specs import EncoderSpec
from .checkpoint import read_checkpoint
from .families import EncoderRequest, ModelName
from .frozen import FrozenEncoder, building, check_image_size, size_refused
from .hf_files import CONFIG, ModelFiles, quiet
from .hf_processor import load_processor, prepared
from .hf_towers import HfTower, architecture_of, class_of
from .module_taps import tapped
from .parts import Model, Part, load_part
from .preprocess_as import prepared_as
from .weights import weights_digest

KNOWN = (
    *(f"facebook/dinov2-{size}" for size in ("small", "base", "large", "giant")),
    *(f"facebook/dinov2-with-registers-{size}" for size in ("small", "base", "large", "giant")),
    *("google/siglip-base-patch16-224", "google/siglip2-base-patch16-224", "google/siglip2-so400m-patch14-384"),
    *("openai/clip-vit-base-patch32", "openai/clip-vit-large-patch14", "google/vit-base-patch16-224-in21k"),
    *("microsoft/beit-base-patch16-224", "microsoft/swin-base-patch4-window7-224", "microsoft/resnet-50"),
    *("facebook/deit-base-patch16-224", "facebook/convnextv2-base-22k-224"),
)
"""Some of the hub's repositories, for the list of what can be named; any other one can be named too."""


def names() -> Iterable[ModelName]:
    """List what can be named: any folder, what this machine has in the hub's cache, and some of the hub's."""
    yield ModelName("hf", "FOLDER", None, True)
    yield ModelName("hf", "OWNER/NAME", None, True)
    yield from (ModelName("hf", repo, None, True) for repo in sorted({*KNOWN, *_cached()}))


def check(named: ModelName, *, need_weights: bool) -> None:
    """Refuse to go on without transformers; names are looked up when they are loaded."""
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise NotFound(
            f"{named.name} needs the package transformers, which is not installed.",
            hint="pip install 'cryoprobe[hf]'",
            key=named.name,
        ) from error


def load(asked: EncoderRequest) -> FrozenEncoder:
    """Load an image encoder of transformers; see `registry.load_encoder`.

    With a checkpoint, the configuration and the processor are those of the name, and its weights are not read.
    """
    name, pixels, checkpoint = asked.name, asked.pixels, asked.checkpoint
    files = ModelFiles.of(name, asked.architecture)
    whole = config_of(files)
    cls, config = class_of(whole, name)
    if pixels.preprocess is None:
        files.fetch_processor()
        transform, preprocessing = prepared(load_processor(files.folder, whole, name), pixels, name)
    else:
        transform, preprocessing = prepared_as(pixels.preprocess, pixels, name)
    notes: list[str] = []
    sha256 = None
    if checkpoint is not None:
        read = read_checkpoint(checkpoint.path)
        tensors, source, sha256 = read.tensors, str(checkpoint.path), read.sha256
    elif asked.seed is None:
        tensors, file = files.weights()
        source = f"{name} ({file})"
    else:
        tensors, source = {}, ""
    with building(asked.seed or 0), quiet():
        model = _built(cls, config, name, tensors)
        if tensors:
            taker = Model(model, _preparing(model, cls))
            key = checkpoint.key if checkpoint is not None else None
            part = load_part(tensors, taker, source, key=key, published=checkpoint is None)
            notes = _left_out(part).notes(Path(source).name if checkpoint is not None else source)
    size = preprocessing.image_size or (0, 0)
    _check_patches(config, size, name)
    tower = HfTower(model, other_size=pixels.side is not None and size != _made_for(config))
    model.eval()
    try:
        check_image_size(tower, name, size)
    except BadInput as error:
        if pixels.side is not None:
            raise size_refused(name, size[0], str(error.__cause__ or error)) from error
        raise BadInput(
            f"{name} does not take what its processor gives, {size[0]} x {size[1]} pixels: {error.__cause__}",
            hint="Give --image-size or --resize and --crop, or correct its preprocessor_config.json.",
            key=name,
        ) from error
    reader, chosen, said = tapped(tower, asked.taps, tower.default, name, size)
    if (note := tower.pooling_note()) is not None and "pooled" in chosen:
        notes.append(note)
    return FrozenEncoder(
        name=name,
        tower=reader,
        taps=chosen,
        transform=transform,
        identity=EncoderSpec(
            family="hf",
            architecture=architecture_of(model),
            weights=weights_digest(model.state_dict()),
            preprocessing=preprocessing,
            tap=chosen[0],
        ),
        compute=asked.compute,
        seed=asked.seed,
        checkpoint_sha256=sha256,
        notes=[*notes, *said],
    )


def _check_patches(config: Any, size: tuple[int, int], name: str) -> None:
    """Refuse a size whose edge transformers would silently drop, because its last patch is not whole."""
    patch = getattr(getattr(config, "vision_config", config), "patch_size", None)
    if isinstance(patch, int) and patch and any(side % patch for side in size):
        raise BadInput(
            f"Images of {size[0]} x {size[1]} pixels are not whole patches of {patch} for {name}.",
            hint=f"Take an --image-size or --crop that is a multiple of {patch}.",
            key=name,
        )


def config_of(files: ModelFiles) -> Any:
    """Return transformers' configuration of a model, by its kind alone: no code of a repository is asked for."""
    from transformers import CONFIG_MAPPING

    found = files.config()
    kind = found.get("model_type")
    if kind not in CONFIG_MAPPING:
        code = found.get("auto_map")
        raise BadInput(
            f"{files.name} needs code of its repository ({kind or CONFIG}), and no code of a repository is run here."
            if code
            else f"transformers has no model of the kind {kind!r}, which {CONFIG} of {files.name} names.",
            hint="Read the code, load the model yourself, and wrap it: cryoprobe.Encoder(module, preprocess, name=…, "
            "version=…)."
            if code
            else "A newer version may: pip install -U transformers.",
            key=files.name,
            found=kind,
        )
    try:
        with building():
            return CONFIG_MAPPING[kind].from_dict(found)
    except Exception as error:  # each configuration checks in its own way
        detail = str(error).strip().split("\n")[0]
        raise BadInput(f"{CONFIG} of {files.name} is no configuration of a {kind}: {detail}", key=files.name) from error


def _built(cls: Any, config: Any, name: str, tensors: Mapping[str, torch.Tensor]) -> Any:
    """Build a model with random weights; without its pooler, if there are weights and none for that."""
    try:
        model = cls._from_config(deepcopy(config), dtype=torch.float32)
        pooler = any(key.startswith("pooler.") for key, _ in model.named_parameters())
        if pooler and tensors and not any(".pooler." in f".{key}" for key in tensors):
            model = cls._from_config(deepcopy(config), dtype=torch.float32, add_pooling_layer=False)
    except Exception as error:  # each model refuses in its own way
        detail = str(error).strip().split("\n")[0]
        raise BadInput(f"transformers cannot build {name}: {detail}", key=name) from error
    return model


def _preparing(model: Any, cls: Any) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Return what brings tensors to the names that this version of transformers has for them; see `parts.Model`.

    Names of earlier versions are converted by transformers itself, in a model of its own. What lies beside the
    encoder's modules, such as a classifier or a text tower, is left out; what lies within has to fit.
    """
    own = model.state_dict()
    modules = {key.partition(".")[0] for key in own}
    below_prefix = f"{cls.base_model_prefix}."
    more = {} if hasattr(model, "pooler") and model.pooler is not None else _without_pooler(cls)

    def prepare(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if below_prefix[:-1] not in modules and any(key.startswith(below_prefix) for key in state):
            return state  # what is below the prefix is tried too
        if not state.keys() >= own.keys():
            state = _converted(cls, model.config, state, more)
        return _Renamed(state, {key for key in state if key in own or key.partition(".")[0] in modules})

    return prepare


class _Renamed(dict[str, torch.Tensor]):
    """Tensors under the names of this version of transformers, and what lay `beside` them."""

    def __init__(self, state: Mapping[str, torch.Tensor], kept: Collection[str]) -> None:
        super().__init__((key, state[key]) for key in state if key in kept)
        self.beside = {key.partition(".")[0] for key in state if key not in kept}


def _left_out(part: Part) -> Part:
    """Take out of what is said to be left out the names that were changed, whose tensors are there."""
    below = f"{part.key}." if part.key else ""
    beside = part.tensors.beside if isinstance(part.tensors, _Renamed) else set()
    left = (name for name in part.left_out if not name.startswith(below) or name[len(below) :].split(".")[0] in beside)
    return replace(part, left_out=tuple(left))


def _converted(
    cls: Any, config: Any, state: dict[str, torch.Tensor], more: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    made, info = cls.from_pretrained(
        None,
        config=deepcopy(config),
        state_dict=dict(state),
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **more,
    )
    other = {key: torch.zeros(shape) for key, shape, _ in info["mismatched_keys"]}
    absent = {*info["missing_keys"], *other}
    found = {key: tensor for key, tensor in made.state_dict().items() if key not in absent}
    return {**found, **other, **{key: state.get(key, torch.zeros(0)) for key in info["unexpected_keys"]}}


def _without_pooler(cls: Any) -> dict[str, Any]:
    import inspect

    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls.__init__).parameters else {}


def _made_for(config: Any) -> tuple[int, int] | None:
    side = getattr(config, "image_size", None)
    if isinstance(side, int):
        return side, side
    return (int(side[0]), int(side[1])) if isinstance(side, tuple | list) else None


def _cached() -> Iterator[str]:
    """Yield the repositories in the hub's cache of this machine that have a transformers configuration."""
    from huggingface_hub import constants

    for config in Path(constants.HF_HUB_CACHE).glob(f"models--*/snapshots/*/{CONFIG}"):
        yield "/".join(config.parts[-4].split("--")[1:])
